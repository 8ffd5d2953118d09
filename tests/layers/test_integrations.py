"""Layers in nflows, normflows, zuko and torch.distributions, and their 1×1 convolutions here."""

import copy
import math
import pickle
import re
import sys
import weakref

import nflows.distributions
import nflows.flows
import nflows.transforms
import normflows
import pytest
import torch
import zuko
from torch.distributions import ComposeTransform, Independent, Normal, TransformedDistribution

from invconv import build
from invconv.conv import _REGISTRY, available
from invconv.integrations import (
    to_distributions,
    to_nflows,
    to_normflows,
    to_zuko,
)
from invconv.testing import check_invertible_conv

SHAPE = (4, 3, 2)
pytestmark = [
    pytest.mark.usefixtures("float64"),
    pytest.mark.filterwarnings("ignore:torch.(triangular_solve|lu) is deprecated:UserWarning"),
]


def perturbed(name, **options):
    layer = build(name, SHAPE, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return layer


@pytest.fixture(params=["glow", "cinc", "macow", "inverse_flow"])
def layer(request):
    """log_det that is and is not zero, that does and does not depend on the image."""
    return perturbed(request.param)


@pytest.fixture
def x():
    return torch.randn(5, *SHAPE)


def normal(z):
    """log N(z; 0, 1), (B,)."""
    return (-0.5 * (z.square() + math.log(2 * math.pi))).flatten(1).sum(1)


def log_prob(layers, x):
    total = torch.zeros(len(x))
    for layer in layers:
        x, log_det = layer(x)
        total = total + log_det
    return normal(x) + total


def gradients(value, module):
    parameters = list(module.parameters())
    return torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)


def same_density(found, truth, layer):
    """The numbers and their gradients, from layers that were not copied."""
    torch.testing.assert_close(found, truth)
    assert found.dtype == torch.float64
    torch.testing.assert_close(gradients(found.sum(), layer), gradients(truth.sum(), layer))


def test_an_nflows_flow(layer, x):
    other = perturbed("finc")
    transform = nflows.transforms.CompositeTransform([to_nflows(layer), to_nflows(other)])
    flow = nflows.flows.Flow(transform, nflows.distributions.StandardNormal(SHAPE))
    same_density(flow.log_prob(x), log_prob([layer, other], x), layer)
    z = flow.transform_to_noise(x)
    torch.testing.assert_close(transform.inverse(z)[0], x)
    torch.testing.assert_close(transform.inverse(z)[1], -transform(x)[1])
    turned = nflows.transforms.InverseTransform(to_nflows(layer))
    torch.testing.assert_close(turned(z)[0], layer.inverse(z))
    samples, density = flow.sample_and_log_prob(6)
    torch.testing.assert_close(density, log_prob([layer, other], samples))
    torch.manual_seed(1)
    samples = flow.sample(3)
    torch.manual_seed(1)
    noise = flow._distribution.sample(3)
    torch.testing.assert_close(samples, layer.inverse(other.inverse(noise)))


def test_a_normflows_flow(layer, x):
    other = perturbed("finc")
    base = normflows.distributions.DiagGaussian(SHAPE, trainable=False)
    flow = normflows.NormalizingFlow(base, [to_normflows(other), to_normflows(layer)]).double()
    same_density(flow.log_prob(x), log_prob([layer, other], x), layer)
    torch.testing.assert_close(flow.forward_kld(x), -log_prob([layer, other], x).mean())
    samples, density = flow.sample(6)
    torch.testing.assert_close(density, log_prob([layer, other], samples))
    torch.testing.assert_close(flow.forward(flow.inverse(x)), x)


def test_a_multiscale_flow_of_normflows(x):
    """Two levels: a layer on (4, 3, 2), of which half leaves, and one on what stays."""
    first, second = perturbed("cinc"), build("glow", (2, 3, 2))
    bases = [normflows.distributions.DiagGaussian((2, 3, 2), trainable=False) for _ in range(2)]
    flow = normflows.MultiscaleFlow(
        bases,
        [[to_normflows(second)], [to_normflows(first)]],
        [normflows.flows.Merge()],
        class_cond=False,
    ).double()
    z, log_det = first(x)
    stays, leaves = z.chunk(2, 1)
    truth = log_prob([second], stays) + normal(leaves) + log_det
    same_density(flow.log_prob(x, None), truth, first)
    samples, density = flow.sample(4)
    torch.testing.assert_close(density, flow.log_prob(samples, None))
    latents, _ = flow.inverse_and_log_det(x)
    torch.testing.assert_close(flow.forward_and_log_det(latents)[0], x)


def test_a_zuko_flow(layer, x):
    other = perturbed("finc")
    base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal,
        torch.zeros(SHAPE),
        torch.ones(SHAPE),
        buffer=True,
        ndims=3,
    )
    flow = zuko.lazy.Flow([to_zuko(layer), to_zuko(other)], base)
    assert set(layer.parameters()) <= set(flow.parameters())
    same_density(flow().log_prob(x), log_prob([layer, other], x), layer)
    torch.manual_seed(1)
    samples = flow().rsample((2, 3))
    torch.manual_seed(1)
    noise = base().sample((2, 3))
    truth = layer.inverse(other.inverse(noise.flatten(0, 1))).unflatten(0, (2, 3))
    same_density(samples.flatten(1), truth.flatten(1), layer)
    samples, density = flow().rsample_and_log_prob((6,))
    torch.testing.assert_close(density, log_prob([layer, other], samples))
    torch.testing.assert_close(to_zuko(layer).inv()(x), layer.inverse(x))


def test_a_transformed_distribution(layer, x):
    other = perturbed("finc")
    base = Independent(Normal(torch.zeros(SHAPE), torch.ones(SHAPE)), 3)
    to_data = [to_distributions(other).inv, to_distributions(layer).inv]
    flow = TransformedDistribution(base, to_data)
    assert flow.event_shape == SHAPE
    same_density(flow.log_prob(x), log_prob([layer, other], x), layer)
    torch.testing.assert_close(flow.log_prob(x.view(5, 1, *SHAPE)), flow.log_prob(x)[:, None])
    torch.testing.assert_close(flow.log_prob(x[0]), flow.log_prob(x)[0])
    for shape in ((), (2,), (2, 3)):
        samples = flow.rsample(shape)
        assert samples.shape == (*shape, *SHAPE)
        assert flow.log_prob(samples).shape == shape
    torch.manual_seed(1)
    samples = flow.rsample((3,))
    torch.manual_seed(1)
    truth = layer.inverse(other.inverse(base.sample((3,))))
    same_density(samples.flatten(1), truth.flatten(1), layer)
    composed = ComposeTransform([to_distributions(layer), to_distributions(other)])
    z = composed(x)
    torch.testing.assert_close(composed.log_abs_det_jacobian(x, z) + normal(z), flow.log_prob(x))


def test_a_density_costs_one_forward_pass(x):
    layer = perturbed("cinc")
    calls = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    base = Independent(Normal(torch.zeros(SHAPE), torch.ones(SHAPE)), 3)
    TransformedDistribution(base, [to_distributions(layer).inv]).log_prob(x)
    assert len(calls) == 1
    to_nflows(layer).inverse(x)
    assert len(calls) == 2


def test_a_log_determinant_belongs_to_the_call_that_made_it(x):
    layer = perturbed("cinc")
    transform = to_distributions(layer)
    z, old = transform(x), layer(x)[1]
    with torch.no_grad():
        layer.weight.mul_(0.5)
    new = layer(x)[1]
    assert (new - old).abs().min() > 0.1
    torch.testing.assert_close(transform.log_abs_det_jacobian(x, z), old)
    torch.testing.assert_close(transform.log_abs_det_jacobian(x, z), new)


@pytest.mark.parametrize("name", ["finc", "macow"])
def test_a_transform_does_not_keep_the_graph_of_a_batch(name, x):
    transform = to_distributions(perturbed(name))
    images = x.clone().requires_grad_()
    alive = weakref.ref(images)
    z = transform(images)
    del images
    assert alive() is not None, "z still needs it"
    del z
    assert alive() is None


def test_transforms_are_copied_and_cached_as_torchs_are(x):
    transform = to_distributions(perturbed("macow"))
    z = transform(x)
    for other in (copy.deepcopy(transform), pickle.loads(pickle.dumps(transform))):
        torch.testing.assert_close(other(x), z)
    assert transform.with_cache(0) is transform
    cached = transform.with_cache()
    z = cached(x)
    assert cached(x) is z
    assert cached.inv(z) is x
    assert "MaCow" in repr(transform)


@pytest.mark.parametrize("package", ["zuko", "nflows", "normflows"])
def test_a_missing_package_is_named(package, monkeypatch):
    for name in list(sys.modules):
        if name.split(".")[0] == package or name == f"invconv.integrations.{package}":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    wrap = {"zuko": to_zuko, "nflows": to_nflows, "normflows": to_normflows}[package]
    with pytest.raises(ImportError, match=f"not installed: pip install {package}$"):
        wrap(build("glow", SHAPE))


def failed(name, dtypes, skip=(), **options):
    reasons = dict.fromkeys({"torch_compile", *skip}, "not asked")
    try:
        check_invertible_conv(
            lambda shape: build(name, shape, **options),
            [(3, 3, 2), (1, 2, 2)],
            dtypes,
            skip=reasons,
        )
    except AssertionError as error:
        return set(re.findall(r"^\[(\w+)\]", str(error), re.MULTILINE))
    return set()


BOTH = (torch.float64, torch.float32)


@pytest.fixture
def unregistered():
    """No layer of another package is registered yet, nor afterwards."""
    yield
    for name in ("nflows_1x1", "normflows_1x1", "theirs"):
        _REGISTRY.pop(name, None)


def test_a_layer_of_another_package_is_found_by_its_entry_point(
    tmp_path, monkeypatch, unregistered
):
    (tmp_path / "theirs-1.dist-info").mkdir()
    (tmp_path / "theirs-1.dist-info" / "METADATA").write_text("Name: theirs\nVersion: 1\n")
    (tmp_path / "theirs-1.dist-info" / "entry_points.txt").write_text(
        "[invconv.layers]\ntheirs = theirs:Theirs\nlost = nowhere_at_all:Lost\n"
    )
    (tmp_path / "theirs.py").write_text(
        "from invconv import FInC\nclass Theirs(FInC):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "theirs" not in available()
    assert type(build("theirs", (4, 3, 3))).__name__ == "Theirs"
    assert "theirs" in available()
    with pytest.raises(ImportError, match="'lost' is nowhere_at_all:Lost, which cannot be"):
        build("lost", (4, 3, 3))
    with pytest.raises(ValueError, match=r"unknown layer 'none'; known: .*lost.*nflows_1x1"):
        build("none", (4, 3, 3))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nflows_1x1", {}),
        ("nflows_1x1", {"identity_init": False}),
        ("normflows_1x1", {"use_lu": True}),
    ],
)
@pytest.mark.usefixtures("unregistered")
def test_peers_that_keep_the_contract(name, options):
    assert failed(name, BOTH, **options) == set()


def test_a_matrix_stored_by_columns_cannot_be_flattened():
    """normflows' W stays as QR left it, so that `parameters_to_vector` refuses it."""
    assert failed("normflows_1x1", BOTH) == {"cache_after_reused_memory"}


def test_nflows_cache_is_dropped_with_ours():
    """Nflows itself drops it by train() alone, pickles it, and has it in the default dtype."""
    torch.set_default_dtype(torch.float32)
    found = failed("nflows_1x1", [torch.float32], using_cache=True, identity_init=False)
    assert found == {"built_on_meta", "cache_after_to", "pickling"}
    assert "inverse_of_forward" in failed("nflows_1x1", [torch.float64], using_cache=True)


@pytest.mark.slow
def test_peers_in_the_table(reproduce):
    found = reproduce(
        "table2.py",
        "preset=tiny",
        "progress=false",
        "dataset=digits",
        "method=nflows_1x1,normflows_1x1",
    )
    assert found.returncode == 0, found.stderr
    assert "3 of 3 cells ok" in found.stdout  # the two are timed in a third
