"""Training without kept activations: gradients, drift, what is stored, memory."""

import warnings

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from invconv import FInC, NumericalError
from invconv.bench.memory import allocator_peak
from invconv.conv import available
from invconv.data import load
from invconv.flows import MultiScaleFlow
from invconv.flows.coupling import AffineCoupling
from invconv.flows.steps import PAPER_STEPS
from invconv.training import TrainingOptions, train
from invconv.training.objective import Objective

SHAPE = (3, 8, 8)
IMAGES = torch.randint(256, (4, *SHAPE), generator=torch.Generator().manual_seed(0))


def flow_of(conv="finc", steps=2, dtype=torch.float64, **options):
    """A flow with couplings that do something."""
    torch.manual_seed(0)
    flow = MultiScaleFlow(conv, SHAPE, levels=2, steps=steps, width=8, **options).to(dtype)
    flow.initialize(IMAGES)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return flow


def gradients(flow, memory, images=IMAGES):
    """Log-likelihood and all gradients as one vector."""
    flow.zero_grad()
    found = flow.log_prob(images, torch.Generator().manual_seed(0), memory)
    found.mean().backward()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in flow.parameters()]
    return found.detach(), torch.cat([grad.flatten() for grad in grads])


def error(flow, memory):
    """The relative difference to the ordinary gradients."""
    expected, truth = gradients(flow, "ordinary")
    value, found = gradients(flow, memory)
    assert torch.allclose(value, expected, rtol=10 * torch.finfo(value.dtype).eps)
    return ((found - truth).norm() / truth.norm()).item()


@pytest.mark.parametrize("conv", available())
def test_gradients_of_every_layer(conv):
    assert error(flow_of(conv), "reversible") < 1e-8


@pytest.mark.parametrize("conv", PAPER_STEPS)
def test_gradients_of_the_steps_of_papers(conv):
    assert error(flow_of(conv, steps=4 if conv == "finc" else 1, step="paper"), "auto") < 1e-8


def kept(flow, memory):
    """How many whole activations autograd keeps for a backward pass."""
    shapes = []

    def pack(x):
        shapes.append(x.shape)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        flow.log_prob(IMAGES, memory=memory)
    return sum(len(shape) == 4 and shape[0] == len(IMAGES) for shape in shapes)


def test_a_chain_keeps_its_ends_alone():
    """And not more of them with more steps."""
    assert kept(flow_of(steps=1), "reversible") == kept(flow_of(steps=3), "reversible")
    assert 2 * kept(flow_of(steps=1), "ordinary") < kept(flow_of(steps=3), "ordinary")


@pytest.mark.parametrize("wrong", [lambda z, x: z, lambda z, x: 1.01 * x])
@pytest.mark.parametrize("part", [FInC, AffineCoupling])
def test_a_wrong_inverse_is_found_at_once(part, wrong, monkeypatch):
    if part is AffineCoupling:
        monkeypatch.delattr(part, "reconstruct")
    right = part._inverse
    monkeypatch.setattr(part, "_inverse", lambda self, z: wrong(z, right(self, z)))
    flow = flow_of()
    with pytest.raises(NumericalError, match=rf"level \d, layer \d \({part.__name__}|Split"):
        gradients(flow, "reversible")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert error(flow, "auto") < 1e-8
    assert any("is off by" in str(one.message) for one in said)
    assert flow.reversible.stored


def drifting():
    """A flow in float32 whose inverses magnify rounding errors too far, but none alone."""
    flow = flow_of(steps=8, dtype=torch.float32)
    with torch.no_grad():
        for _, part in flow.parts():
            if isinstance(part, FInC):
                part.weight *= 6
    return flow


def test_what_drifts_is_stored():
    flow = drifting()
    with pytest.raises(NumericalError, match=r"off by .*auto"):
        gradients(flow, "reversible")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = error(flow, "auto")
    stored = set(flow.reversible.stored)
    assert 0 < len(stored) < len(flow.parts())
    assert first < 1e-2
    assert 0 < flow.reversible.drift < 4e-4
    assert flow.reversible.used > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the next step knows
        assert error(flow, "auto") < 1e-2
    assert flow.reversible.stored == stored
    flow = drifting()
    flow.reversible.budget = 1000
    with pytest.raises(NumericalError, match="more than the 1000 bytes"):
        gradients(flow, "auto")


def test_images_that_are_not_finite_are_left_to_the_loss():
    flow = flow_of()
    with torch.no_grad():
        next(flow.parameters()).fill_(float("nan"))
    assert gradients(flow, "reversible")[0].isnan().all()


def test_nothing_but_eager_mode():
    flow = flow_of()
    with pytest.raises(RuntimeError, match="eager mode alone"):
        torch.func.vmap(lambda y: flow.encode(y, memory="auto"))(torch.zeros(2, 1, *SHAPE))
    with pytest.raises(ValueError, match="compile=false"):
        TrainingOptions(1, memory="auto", compile=True)
    with pytest.raises(ValueError, match="unknown memory 'none'"):
        flow.log_prob(IMAGES, memory="none")


def test_weights_that_changed_are_refused():
    flow = flow_of()
    loss = flow.log_prob(IMAGES, memory="reversible").mean()
    with torch.no_grad():
        next(flow.parameters()).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_under_autocast():
    flow = flow_of(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        truth = gradients(flow, "ordinary")[1]
        found = gradients(flow, "auto")[1]
    assert (found - truth).norm() < 0.05 * truth.norm()


@pytest.mark.parametrize("conv", ["finc", "snf"])
def test_training_ends_with_the_same_weights(conv):
    """With accumulation, clipping and, of SNF, a penalty and a layer that is not exact."""
    found = []
    for memory in ("ordinary", "reversible"):
        torch.manual_seed(0)
        flow = MultiScaleFlow(conv, (1, 8, 8), levels=1, steps=1, width=8, bins=17).double()
        options = TrainingOptions(3, batch_size=16, accumulate=2, memory=memory)
        train(flow, load("digits", "train"), load("digits", "valid"), options, progress=False)
        found.append(torch.cat([p.detach().flatten() for p in flow.parameters()]))
    assert torch.allclose(*found, rtol=1e-9, atol=1e-10)


def test_distributed(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        flow = flow_of()
        truth = gradients(flow, "ordinary")[1]
        flow.zero_grad()
        objective = DistributedDataParallel(Objective(flow, "reversible"))
        objective(IMAGES, torch.Generator().manual_seed(0)).backward()
    finally:
        torch.distributed.destroy_process_group()
    found = torch.cat([p.grad.flatten() for p in flow.parameters()])
    assert torch.allclose(-found, truth, rtol=1e-9, atol=1e-12)


def test_memory_does_not_grow_with_depth():
    images = torch.randint(256, (64, *SHAPE))

    def peak(steps, memory):
        """Beyond weights and their gradients."""
        flow = flow_of(steps=steps, dtype=torch.float32)

        def step():
            flow.zero_grad()
            flow.log_prob(images, None, memory).mean().backward()

        step()
        weights = 4 * sum(p.numel() for p in flow.parameters())
        return allocator_peak(step, torch.device("cpu")) - weights

    short, long = peak(2, "reversible"), peak(8, "reversible")
    assert long < 1.2 * short
    assert long < 0.2 * peak(8, "ordinary")
