"""What torch records of layers and flows serves batches of any size, and later parameters."""

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from invconv import available, build
from invconv.flows import (
    ActNorm,
    AffineCoupling,
    CouplingFreeFlow,
    Logit,
    MultiScaleFlow,
    PlainSplit,
    QuadCoupling,
    Scale,
    SplineActivation,
    Split,
    Squeeze,
)
from invconv.flows.macow_steps import GatedCoupling
from invconv.testing.case import Both
from invconv.testing.transforms import export, trace

pytestmark = pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning"
)


class Method(nn.Module):
    """What one method of a module returns, as a list of tensors."""

    def __init__(self, module, name):
        super().__init__()
        self.module, self.name = module, name

    def forward(self, x):
        found = getattr(self.module, self.name)(x)
        if isinstance(found, tuple) and isinstance(found[0], list):  # latents and log_det
            return [*found[0], found[1]]
        return list(found) if isinstance(found, tuple) else [found]


def recordable(layer):
    """A layer with its inverse, unless that is to a tolerance and may be refused."""
    return Both(layer) if layer.exact else layer


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("name", available())
def test_a_traced_layer_computes(name, gradients, poisoned_empty):
    layer = recordable(build(name, (4, 5, 6)).eval())
    x, other = torch.randn(2, 4, 5, 6), torch.randn(2, 4, 5, 6)
    with torch.set_grad_enabled(gradients):
        layer(x)
        traced = torch.jit.trace(layer, x, check_trace=not gradients)  # it checks without
        torch.testing.assert_close(traced(other), layer(other))
    if gradients:
        parameters = tuple(layer.parameters())
        found, truth = (
            torch.autograd.grad(
                sum(y.square().sum() for y in f(other)), parameters, allow_unused=True
            )
            for f in (traced, layer)
        )
        found, truth = ([one for one in grads if one is not None] for grads in (found, truth))
        torch.testing.assert_close(found, truth, rtol=1e-3, atol=1e-3)


def test_a_trace_of_two_images_gives_five_log_determinants():
    layer = build("glow", (4, 6, 6))
    traced = torch.jit.trace(layer, torch.randn(2, 4, 6, 6))
    x = torch.randn(5, 4, 6, 6)
    assert traced(x)[1].shape == (5,)
    torch.testing.assert_close(traced(x), layer(x))


def symbolic(module, x):
    """make_fx, with the parameters as inputs, and no size of ``x`` like one of theirs."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def call(values, images):
        return torch.func.functional_call(module, values, (images,))

    graph = make_fx(call, tracing_mode="symbolic")(state, x)
    return lambda images: graph(state, images)


def compiled(module, x):
    torch._dynamo.reset()
    function = torch.compile(module, dynamic=True, backend="aot_eager")
    function(x)
    return function


SLOWLY_COMPILED = pytest.param(compiled, marks=pytest.mark.slow)


def images(batch, channels=4):
    return torch.randn(batch, channels, 8, 8)


def pixels(batch):
    return torch.randint(256, (batch, 1, 8, 8))


def check(record, module, draw, values=True):
    module.eval()
    with torch.no_grad():
        recorded = record(module, draw(11))
        for batch in (1, 5):
            x = draw(batch)
            found, truth = list(recorded(x)), list(module(x))
            if values:
                torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)
            assert [y.shape for y in found] == [y.shape for y in truth]


@pytest.mark.parametrize("record", [symbolic, SLOWLY_COMPILED])
@pytest.mark.parametrize("name", available())
def test_a_recorded_layer_serves_any_batch(record, name):
    """By `torch.jit.trace` and `torch.export`: see the conformance kit."""
    check(record, recordable(build(name, (4, 8, 8))), images)


PARTS = {
    "actnorm": lambda: ActNorm(4),
    "affine": lambda: AffineCoupling(4, 8, "sigmoid"),
    "quad": lambda: QuadCoupling(4, 8),
    "gated": lambda: GatedCoupling(4, 8),
    "spline": SplineActivation,
    "squeeze": Squeeze,
    "split": lambda: Split(4, 8),
    "plain split": lambda: PlainSplit(2),
    "logit": lambda: Logit(256),
    "scale": lambda: Scale(256),
}


@pytest.mark.parametrize("record", [trace, export, symbolic, SLOWLY_COMPILED])
@pytest.mark.parametrize("part", PARTS)
def test_a_recorded_part_serves_any_batch(record, part):
    check(record, Both(PARTS[part]()), lambda batch: images(batch).sigmoid())


def multiscale():
    flow = MultiScaleFlow("finc", (1, 8, 8), levels=1, steps=1, width=4)
    flow.initialize(pixels(16))
    return flow


def coupling_free():
    return CouplingFreeFlow("emerging", (1, 8, 8), blocks=1, layers=1)


@pytest.mark.parametrize("record", [trace, export, symbolic, SLOWLY_COMPILED])
@pytest.mark.parametrize("flow", [multiscale, coupling_free])
def test_a_recorded_flow_serves_any_batch(record, flow):
    check(record, Method(flow(), "encode"), lambda batch: images(batch, 1))
    check(record, Method(flow(), "log_prob"), pixels, values=False)  # of other noise
