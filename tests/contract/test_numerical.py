"""Inverses that fail are refused, with what to do; what they amplify can be bounded."""

import pickle

import pytest
import torch
from cases import entries
from hypothesis import given
from hypothesis import strategies as st

from invconv import (
    CInC,
    Emerging,
    FInC,
    Glow1x1,
    InverseFlow,
    NumericalError,
    TriangularConv,
    available,
    build,
    solve_triangular_conv2d,
)
from invconv.flows import MultiScaleFlow
from invconv.numerical import allowed_residual, growth, relative_errors, residuals
from invconv.solvers.problem import parse_problem
from invconv.solvers.solve import _check_result
from invconv.testing.values import dense_jacobian


def enlarged(layer, factor):
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.ndim == 4:
                parameter.mul_(factor)
    return layer


@pytest.fixture
def wild():
    """Float32 loses the inverse of this layer, float64 does not."""
    return enlarged(FInC(4), 6)


def refusal(layer, z):
    with pytest.raises(NumericalError) as caught:
        layer.inverse(z, check=True)
    return caught.value


def test_the_error_says_what_to_do_and_that_is_true(wild):
    z = torch.randn(2, 4, 32, 32)
    error = refusal(wild, z)
    assert str(error).startswith("FInC: the inverse is not one: its relative residual is ")
    assert "max_growth" in str(error)
    said = float(str(error).partition(", or float64, where the residual is ")[2])
    assert error.residual > 2.4e-5
    assert 1e4 < error.growth < 1e9
    wild.inverse(z[:, :, :4, :4].contiguous(), check=True)
    wild.double()
    found = relative_errors(wild(wild.inverse(z.double()))[0], z)
    assert found.max().item() == pytest.approx(said, rel=0.05)


def test_float64_is_not_advised_where_it_does_not_help():
    layer, z = enlarged(FInC(4), 100), torch.randn(2, 4, 64, 64)
    error = refusal(layer, z)
    assert "the inverse overflowed: " in str(error)
    assert "use smaller weights" in str(error)
    assert "float64, where" not in str(error)
    assert error.residual != error.residual
    assert "float64, where" not in str(refusal(layer.double(), z.double()))


def test_the_function_says_so_too(wild):
    z = torch.randn(2, 4, 32, 32)
    options = {"corners": wild.corners, "check": True}
    with pytest.raises(NumericalError, match=r"^solve_triangular_conv2d: .*float64, where"):
        solve_triangular_conv2d(z, wild.triangular_weight(), **options)


@pytest.mark.parametrize("check", ["layer", "function"])
def test_one_bad_image_of_many_is_refused(check):
    """And an image that is lost beside one of a million times its size."""
    layer, z = FInC(4), torch.randn(100, 4, 8, 8)
    z[0] *= 1e6
    with torch.no_grad():
        x = layer.inverse(z)
    wrong = x.clone()
    wrong[7] *= 1 + 1e-4
    wrong[9] = 0

    def refuse(x):
        if check == "layer":
            return layer.check_inverse(x, z)
        weight = layer.triangular_weight().detach()
        problem = parse_problem(z, weight, None, layer.corners, False, "z")
        return _check_result(x, z, weight.double(), problem)

    refuse(x)
    with pytest.raises(NumericalError, match=r"residual is 1\.0e\+00, .* in 2 of 100 images; sm"):
        refuse(wrong)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_residuals_of_the_smallest_and_largest_numbers(dtype):
    """An image of zeros, or one whose squares vanish or overflow, is held to its own size."""
    limits = torch.finfo(dtype)
    sizes = [0.0, limits.smallest_normal / 8, 1.0, limits.max / 8, limits.max / 8]
    z = torch.ones(5, 2, 3, 3, dtype=dtype) * torch.tensor(sizes, dtype=dtype)[:, None, None, None]
    wrong = torch.tensor([0, 0, 0, 1, 0], dtype=dtype)[:, None, None, None]

    def forward(x):
        return x * (1 + 2 * limits.eps + 1e-3 * wrong[: len(x)])

    found = residuals(forward, z, z)
    assert found.dtype == torch.float64
    assert (found <= allowed_residual(dtype)).tolist() == [True, True, True, False, True]
    found = residuals(lambda x: x + 1e-3, z[:3] - 1e-3, z[:3])  # f(0) is 1e-3, x has its rounding
    assert (found <= allowed_residual(dtype)).all()
    z[1, 0, 0, 0] = torch.nan
    assert residuals(forward, z, z).isnan().tolist() == [False, True, False, False, False]
    assert residuals(forward, z[:0], z[:0]).shape == (0,)


def test_an_error_survives_pickling(wild):
    error = refusal(wild, torch.randn(1, 4, 32, 32))
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.layer, again.residual, again.growth) == ("FInC", error.residual, error.growth)


def test_another_default_device_changes_nothing(wild):
    z = torch.randn(2, 4, 32, 32)
    torch.set_default_device("meta")
    try:
        assert "small changes grow" in str(refusal(wild, z))
    finally:
        torch.set_default_device(None)


def test_growth_is_that_of_a_known_matrix():
    matrix = torch.tensor([[1.0, 0.0], [-40.0, 0.5]], dtype=torch.float64)

    def function(x):
        return torch.einsum("cd,bdhw->bchw", matrix, x)

    found = growth(function, torch.randn(5, 2, 8, 8, dtype=torch.float64))
    assert 20 < found <= 40.5
    assert growth(lambda x: x / 0, torch.ones(1, 1, 1, 1)) == float("inf")


@pytest.mark.parametrize("name", available())
def test_every_layer_refuses_what_is_not_finite(name):
    layer, z = build(name, (4, 4, 4)), torch.randn(2, 4, 4, 4)
    layer.initialize(z)
    layer.inverse(z, check=True)
    z[1, 2, 3, 1] = torch.inf
    with pytest.raises(ValueError, match="z holds 1 of 128 values"):
        layer.inverse(z, check=True)
    parameter = next(layer.parameters())
    with torch.no_grad():
        parameter.view(-1)[0] = torch.nan
    with pytest.raises((ValueError, NumericalError), match=r"NaN|singular"):
        layer.inverse(torch.zeros_like(z), check=True)


@pytest.mark.parametrize("size", [0.0, 1e-4, 1.0])
def test_a_layer_that_shifts_is_not_refused_for_its_rounding(size):
    """A latent of zeros, or far smaller than the shift: the residual goes with the shift."""
    torch.manual_seed(0)
    layer = build("cinc", (4, 8, 8), bias=True)
    with torch.no_grad():
        layer.shift.normal_()
    z = size * torch.randn(2, 4, 8, 8)
    layer.inverse(z, check=True)
    with pytest.raises(NumericalError, match="the inverse is not one"):
        layer.check_inverse(layer.inverse(z) + 0.01, z)


@pytest.mark.parametrize("name", ["glow", "periodic", "woodbury", "me_woodbury"])
def test_a_singular_matrix_is_named(name):
    layer = build(name, (2, 4, 4), **({"parametrization": "plain"} if name == "glow" else {}))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        if "woodbury" in name:
            layer.channel.u[0, 0] = -1
            layer.channel.v[0, 0] = 1
    with pytest.raises(NumericalError, match=r"singular: .*; use smaller weights.*PLU") as caught:
        layer.inverse(torch.randn(1, 2, 4, 4))
    assert caught.value.growth == float("inf")


def overflowing(affected=None):
    """A flow whose level 1 overflows, for all samples or for those with a large first latent."""
    torch.manual_seed(0)
    flow = MultiScaleFlow("finc", (1, 16, 16), 2, 1, 4, bins=17).eval()
    layer = flow.levels[1][1]
    assert isinstance(layer, FInC)
    enlarged(layer, 1e38 if affected is None else affected)
    return flow


def test_samples_that_are_not_finite_raise_and_are_counted():
    flow = overflowing()
    with pytest.raises(NumericalError) as caught:
        flow.sample(5)
    assert str(caught.value).startswith("5 of 5 samples are not finite: level 1, layer 1 (FInC): ")
    assert "only_finite=True) leaves them out" in str(caught.value)
    assert flow.sample(5, only_finite=True).shape == (0, 1, 16, 16)


def test_samples_that_are_finite_and_wrong_are_counted_if_asked_for():
    torch.manual_seed(0)
    flow = MultiScaleFlow("finc", (1, 32, 32), 1, 2, 4).eval()
    flow.sample(8, check=True)
    for part in flow.levels[0]:
        if isinstance(part, FInC):
            enlarged(part, 12)
    latents = flow.draw(8)
    latents[0][3] *= 1e36  # these overflow
    flow.draw = lambda *arguments: [latent.clone() for latent in latents]
    assert len(flow.sample(8, only_finite=True)) == 7
    with pytest.raises(
        NumericalError,
        match=r"^1 of 8 samples are not finite and 7 of 8 samples are finite, but no inverse of "
        r"their latents: level 0, layer \d \(FInC\): the inverse .*; small changes grow",
    ):
        flow.sample(8, check=True)
    assert flow.sample(8, only_finite=True, check=True).shape == (0, 1, 32, 32)


def test_only_the_affected_samples_are_left_out():
    """Latents of 1e30 times the others' overflow, their neighbors in the batch do not."""
    flow = MultiScaleFlow("finc", (1, 8, 8), 1, 2, 4, bins=17).eval()
    with torch.no_grad():
        flow.levels[0][2].log_scale.fill_(-44)
    latents = flow.draw(6)
    latents[0][[1, 4]] *= 1e30
    flow.draw = lambda *arguments: [latent.clone() for latent in latents]
    with pytest.raises(NumericalError, match=r"^2 of 6 samples .* level 0, layer \d \("):
        flow.sample(6)
    for check in (False, True):
        assert flow.sample(6, only_finite=True, check=check).shape == (4, 1, 8, 8)


def test_decoding_names_the_first_layer():
    flow = overflowing(affected=60)
    latents = flow.draw(4)
    with pytest.raises(NumericalError, match=r"^level 1, layer 1 \(FInC\)") as caught:
        flow.decode(latents, check=True)
    assert caught.value.layer == "level 1, layer 1 (FInC)"
    with pytest.raises(ValueError, match="a latent holds"):
        flow.decode([latents[0] * torch.nan, latents[1]], check=True)
    flow = MultiScaleFlow("glow", (1, 8, 8), 1, 1, 4, bins=17).eval()
    flow.decode(flow.draw(2), check=True)
    bias = flow.levels[0][-1].network.last.bias
    for value, error, said in (
        (-1e38, NumericalError, r"level 0, layer 3 \(AffineCoupling\): .* not finite"),
        (torch.inf, ValueError, "network.last.bias of AffineCoupling holds 4 of 4 values that"),
    ):
        torch.nn.init.constant_(bias, value)
        with pytest.raises(error, match=said):
            flow.decode(flow.draw(2), check=True)


BOUNDED = {
    "finc": lambda g: FInC(8, 3, max_growth=g),
    "cinc": lambda g: CInC(3, 3, max_growth=g),
    "unit": lambda g: CInC(3, 2, diagonal="unit", max_growth=g),
    "raster": lambda g: TriangularConv(
        4, (2, 3), corners=("tr", "bl"), anchor=(1, 1), diagonal="learned", max_growth=g
    ),
}


@pytest.mark.parametrize("name", BOUNDED)
@given(bound=st.floats(1.001, 50), size=st.floats(0, 30), seed=st.integers(0, 2**32 - 1))
def test_the_bound_on_the_growth_holds_for_any_weight(name, bound, size, seed):
    """‖f⁻¹‖∞ of the dense matrix, against g / min|diagonal|; log_det is the unbounded one's."""
    torch.manual_seed(seed)
    layer, free = BOUNDED[name](bound).double(), BOUNDED[name](None).double()
    with torch.no_grad():
        layer.weight.copy_(size * torch.randn_like(layer.weight))
        # exp of it: what is further apart the dense inverse below would lose
        diagonal = entries(layer)[1]
        layer.weight[diagonal] = layer.weight[diagonal].clamp(-3, 3)
    free.load_state_dict(layer.state_dict())
    matrix = dense_jacobian(layer, torch.randn(layer.channels, 3, 4, dtype=torch.float64))
    inverse = torch.linalg.inv(matrix.detach())
    smallest = matrix.detach().diagonal().abs().min()
    assert inverse.abs().sum(1).max() * smallest <= bound * (1 + 1e-9)
    x = torch.randn(1, layer.channels, 3, 4, dtype=torch.float64)
    assert torch.equal(layer(x)[1], free(x)[1])
    assert torch.equal(layer._log_diagonal(), free._log_diagonal())


def test_the_bound_is_reached():
    """One tap to the left of −s, on a long row: 1 + s + s² + … = 1/(1 − s)."""
    layer = TriangularConv(1, (1, 2), max_growth=4.0).double()
    with torch.no_grad():
        layer.weight.fill_(-100)
    inverse = torch.linalg.inv(dense_jacobian(layer, torch.zeros(1, 1, 200).double()).detach())
    assert inverse.abs().sum(1).max() == pytest.approx(4, rel=1e-12)


def test_a_diagonal_that_underflows_has_no_taps(float64):
    """0/0 was NaN in the weight, and from there in z and in every gradient."""
    layer = CInC(3, max_growth=2.0).float()
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[1, :, 0].fill_(0.5)
        layer.weight[:2, :, -1, -1].fill_diagonal_(-120)
    weight = layer.triangular_weight()
    assert weight.isfinite().all()
    assert not weight[:2].any()
    weight.sum().backward()
    assert layer.weight.grad.isfinite().all()


def test_small_weights_are_left_as_they_are():
    torch.manual_seed(0)
    layer = FInC(4, 2, max_growth=3.0)
    torch.manual_seed(0)
    free = FInC(4, 2)
    assert torch.equal(layer.triangular_weight(), free.triangular_weight())
    layer.triangular_weight().square().sum().backward()
    free.triangular_weight().square().sum().backward()
    assert torch.equal(layer.weight.grad, free.weight.grad)


def test_emerging_and_inverse_flow_hand_the_bound_on():
    layer = enlarged(Emerging(2, max_growth=2.0), 1000).double()
    for part in (layer.first, layer.second):
        taps = part.triangular_weight().abs().sum((1, 2, 3)) / part._log_diagonal().exp()
        assert (taps <= 1.5 + 1e-9).all()
    layer = enlarged(InverseFlow(2, max_growth=2.0), 1e6)
    x = torch.randn(3, 2, 64, 64)
    z, log_det = layer(x)
    assert z.abs().max() <= 2 * x.abs().max() * (1 + 1e-6)
    assert not log_det.any()
    layer.inverse(z, check=True)


@pytest.mark.parametrize("bound", [1, 0.5, -3, float("inf"), float("nan")])
def test_bounds_that_are_none(bound):
    with pytest.raises(ValueError, match="max_growth must be above 1 and finite, or None, not"):
        FInC(4, max_growth=bound)
    assert Glow1x1(2).inverse(torch.ones(1, 2, 1, 1), check=True).shape == (1, 2, 1, 1)
