"""Odd and empty sizes, odd types: a flow, a part or a solver works, or says why not."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import invconv
from invconv import FInC, Glow1x1, build, flows, solve_triangular_conv2d, triangular_conv2d
from invconv.conv import InvertibleConv
from invconv.flows.macow_steps import GatedCoupling
from invconv.solvers import known_methods

SHAPE = (2, 8, 8)
FLOWS = {
    "multi-scale": lambda: flows.MultiScaleFlow("finc", SHAPE, 2, 1, 4, bins=17),
    "variational": lambda: flows.MultiScaleFlow(
        "glow", SHAPE, 2, 1, 4, bins=17, dequantization="variational"
    ),
    "variational_macow": lambda: flows.MultiScaleFlow(
        "glow", SHAPE, 2, 1, 4, bins=17, dequantization="variational_macow"
    ),
    "coupling-free": lambda: flows.CouplingFreeFlow("cinc", SHAPE, bins=17),
    "MaCow-FG": lambda: flows.MaCowFG(SHAPE, [1, (1,), 1], [4, 4, 4], bins=17),
}
PARTS = {
    "ActNorm": lambda: flows.ActNorm(4),
    "AffineCoupling": lambda: flows.AffineCoupling(4, 3),
    "QuadCoupling": lambda: flows.QuadCoupling(4, 3),
    "GatedCoupling": lambda: GatedCoupling(4, 3),
    "Split": lambda: flows.Split(4, 3),
    "PlainSplit": lambda: flows.PlainSplit(3),
    "Squeeze": lambda: flows.Squeeze(),
    "SplineActivation": lambda: flows.SplineActivation(),
    "Logit": lambda: flows.Logit(256),
    "Scale": lambda: flows.Scale(256),
}
SIZES = [(b, h, w) for b in (0, 1, 3) for h in (0, 2) for w in (0, 2)]


def images(count=3):
    return torch.randint(17, (count, *SHAPE))


@pytest.fixture
def default_dtype():
    before = torch.get_default_dtype()
    yield torch.set_default_dtype
    torch.set_default_dtype(before)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_takes_a_batch_of_no_images(name):
    """`F.pixel_unshuffle` returns such a batch in its old shape."""
    flow = FLOWS[name]().eval()
    none = images()[:0]
    assert flow.log_prob(none).shape == flow.bits_per_dim(none, samples=2).shape == (0,)
    assert flow.sample(0).shape == (0, *SHAPE)
    state = {key: value.clone() for key, value in flow.state_dict().items()}
    with pytest.raises(ValueError, match=r"needs values to initialize with|needs two values"):
        flow.initialize(none)
    torch.testing.assert_close(flow.state_dict(), state)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"]
)
def test_log_prob_of_images_of_every_integer_dtype(dtype):
    flow = FLOWS["multi-scale"]()
    x = images()
    typed = x.to(getattr(torch, dtype))
    for one in (flow.log_prob, flow.bits_per_dim, flow):
        found = one(typed, generator=torch.Generator().manual_seed(0))
        assert torch.equal(found, one(x, generator=torch.Generator().manual_seed(0)))
    flow.initialize(typed)
    with pytest.raises(ValueError, match=r"integers from 0 to 16, not from 100 to 100"):
        flow.log_prob(torch.full((1, *SHAPE), 100).to(typed.dtype))


def test_log_prob_of_what_is_no_tensor_of_integers():
    flow = FLOWS["multi-scale"]()
    with pytest.raises(TypeError, match=r"images must be a torch.Tensor, not ndarray"):
        flow.log_prob(images().numpy())
    with pytest.raises(TypeError, match=r"integers from 0 to 16, not torch.int64, torch.sparse"):
        flow.log_prob(images().to_sparse())


@pytest.mark.parametrize("count", [2.0, True, "2", None, -1, math.nan, torch.tensor(2.0)])
def test_sampling_an_odd_number_of_images_is_refused(count):
    flow = FLOWS["multi-scale"]().eval()
    for call in (flow.sample, flow.draw):
        with pytest.raises(ValueError, match=r"n must be an int of at least 0, not"):
            call(count)
    with pytest.raises(ValueError, match=r"samples must be an int of at least 1, not"):
        flow.bits_per_dim(images(), samples=count)


@pytest.mark.parametrize("count", [2, np.int64(2), torch.tensor(2)])
def test_sampling_as_many_images_as_numpy_or_torch_count(count):
    assert FLOWS["multi-scale"]().eval().sample(count).shape == (2, *SHAPE)


@pytest.mark.parametrize("temperature", ["1", None, -1, math.nan, math.inf])
def test_an_odd_temperature_is_refused(temperature):
    with pytest.raises(ValueError, match=r"temperature must be at least 0 and finite, not"):
        FLOWS["multi-scale"]().sample(2, temperature)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", invconv.available())
def test_every_layer_is_built_in_every_default_dtype(name, dtype, default_dtype):
    default_dtype(dtype)
    layer = build(name, (4, 6, 6))
    x = torch.randn(2, 4, 6, 6)
    z, log_det = layer(x)
    assert z.dtype == log_det.dtype == dtype
    assert (layer.inverse(z) - x).abs().max() < {2: 0.6, 8: 1e-9}[dtype.itemsize]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_is_trained_in_every_default_dtype(name, dtype, default_dtype):
    """A pixel's value plus noise is no number of half precision: its logit was infinite."""
    default_dtype(dtype)
    flow = FLOWS[name]()
    x = images(8)
    flow.initialize(x)
    log_prob = flow.log_prob(x)
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    for key, parameter in flow.named_parameters():
        assert parameter.isfinite().all() and parameter.grad.isfinite().all(), key
    assert flow.eval().sample(2).shape == (2, *SHAPE)


@pytest.mark.parametrize("name", ["nflows_1x1", "normflows_1x1"])
def test_libraries_without_half_precision_say_so(name, default_dtype):
    default_dtype(torch.bfloat16)
    with pytest.raises(TypeError, match=r"default dtype, which must be float32 or float64, not"):
        build(name, (4, 6, 6))


@pytest.mark.filterwarnings("ignore:torch.triangular_solve is deprecated")
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", [*PARTS, "nflows_1x1", "normflows_1x1"])
def test_every_part_takes_no_images_and_images_without_pixels(name, size):
    part = PARTS[name]() if name in PARTS else build(name, (4, 2, 2))
    x = torch.rand(size[0], 4, *size[1:])
    z, log_det = part(x)
    assert log_det.shape == (size[0],)
    torch.testing.assert_close(part.inverse(z), x, rtol=0, atol=1e-2)


@pytest.mark.parametrize("name", [name for name in PARTS if name not in ("Logit", "Scale")])
def test_a_part_in_a_sequential_says_what_to_use(name):
    x = torch.rand(2, 4, 4, 4)
    with pytest.raises(TypeError, match=r"not tuple: .* nn.Sequential cannot chain layers; call"):
        nn.Sequential(flows.ActNorm(4), PARTS[name]())(x)


@pytest.mark.parametrize("name", invconv.available())
def test_a_layer_in_a_sequential_says_what_to_use(name):
    x = torch.rand(2, 4, 4, 4)
    layers = nn.Sequential(build(name, x.shape[1:]), build(name, x.shape[1:]))
    with pytest.raises(TypeError, match=r"not tuple: .* nn.Sequential cannot chain layers; call"):
        layers(x)


@pytest.mark.parametrize(
    "name", ["ActNorm", "AffineCoupling", "QuadCoupling", "GatedCoupling", "Split"]
)
def test_a_part_with_other_channels_than_the_images_does_not_broadcast(name):
    with pytest.raises(ValueError, match=r"x must have 4 channels"):
        PARTS[name]()(torch.rand(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"x must have 1 channels"):
        flows.ActNorm(1)(torch.rand(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda n: flows.ActNorm(n), "channels"),
        (lambda n: flows.AffineCoupling(n, 4), "channels"),
        (lambda n: flows.AffineCoupling(4, n), "width"),
        (lambda n: flows.QuadCoupling(n, 4), "channels"),
        (lambda n: flows.SplineActivation(n), "bins"),
        (lambda n: flows.MultiScaleFlow("finc", SHAPE, n, 1, 4), "levels"),
        (lambda n: flows.MultiScaleFlow("finc", SHAPE, 1, n, 4), "steps"),
        (lambda n: flows.MultiScaleFlow("finc", SHAPE, 1, 1, n), "width"),
        (lambda n: flows.MaCowFG(SHAPE, [n, (1,), 1], [4, 4, 4]), "steps"),
        (lambda n: flows.MaCowFG(SHAPE, [1, (1,), 1], [n, 4, 4]), "widths"),
        (lambda n: flows.ConditionalCouplings(SHAPE, n), "steps"),
        (lambda n: flows.ConditionalMaCow(SHAPE, context_channels=n), "context_channels"),
        (lambda n: Glow1x1(n), "channels"),
    ],
)
@pytest.mark.parametrize("size", [0, 2.0, True, "2"])
def test_an_odd_size_of_a_part_is_refused(build, name, size):
    with pytest.raises(ValueError, match=f"{name} must be an int of at least 1, not {size!r}"):
        build(size)


@pytest.mark.parametrize("bins", [1, 257, 16.5, 16.0, "16", True])
def test_an_odd_number_of_levels_is_refused(bins):
    with pytest.raises(ValueError, match=r"bins must be between 2 and 256, not"):
        flows.MultiScaleFlow("finc", SHAPE, 1, 1, 4, bins=bins)


def test_sizes_that_numpy_counted_are_taken():
    sizes = np.array([4, 3, 8])
    assert FInC(sizes[0], kernel_size=sizes[1]).weight.shape == (4, 1, 3, 3)
    assert build("woodbury", tuple(sizes)).shape == (4, 3, 8)
    anchor = (np.int64(0), np.int64(1))
    x = torch.ones(1, 1, 2, 2)
    assert torch.equal(
        triangular_conv2d(x, x, anchor=anchor), triangular_conv2d(x, x, anchor=(0, 1))
    )


@pytest.mark.parametrize("size", [(0, 2), (2, 0), (0, 0)])
@pytest.mark.parametrize("method", [name for name in known_methods() if name[-1] != "4"])
def test_solving_for_images_without_pixels_with_a_check(method, size):
    z, weight = torch.ones(2, 1, *size), torch.ones(1, 1, 2, 2)
    x = solve_triangular_conv2d(z, weight, method=method, check=True)
    assert x.shape == triangular_conv2d(x, weight, method="torch").shape == z.shape


def test_a_triangle_that_is_neither_upper_nor_lower_is_refused():
    z, weight = torch.ones(1, 2, 2, 2), torch.ones(2, 2, 1, 1)
    for call in (triangular_conv2d, solve_triangular_conv2d):
        with pytest.raises(ValueError, match=r"upper must be True or False, not 'no'"):
            call(z, weight, upper="no")


def test_a_misspelled_option_of_a_layer_lists_the_known_ones():
    """Of a class as of `build`, and of anyone's layer."""
    with pytest.raises(
        TypeError, match=r"FInC has no option 'kernel'; known: channels, kernel_siz"
    ):
        FInC(12, kernel=5)
    with pytest.raises(
        TypeError, match=r"MultiScaleFlow has no option 'kernel_size'; known: conv"
    ):
        flows.MultiScaleFlow("finc", SHAPE, 1, 1, kernel_size=5)

    class Mine(InvertibleConv):
        def __init__(self, channels, power=1):
            super().__init__(channels)

        def forward(self, x):
            return x, x.new_zeros(len(x))

        def _inverse(self, z):
            return z

    class Others(Mine):
        def __init__(self, channels, **options):
            super().__init__(channels, **options)

    assert Mine(3, power=2).channels == Others(3, power=2).channels == 3
    for layer in (Mine, Others):
        with pytest.raises(TypeError, match=r"Mine has no option 'pwer'; known: channels, power"):
            layer(3, pwer=2)


def test_a_flow_called_as_a_module_gives_log_prob():
    flow = FLOWS["multi-scale"]()
    x = images()
    found, truth = (call(x, torch.Generator().manual_seed(0)) for call in (flow, flow.log_prob))
    assert torch.equal(found, truth)
