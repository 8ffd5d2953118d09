"""Anyone's bijections in a row, with and without a base distribution."""

import math

import pytest
import torch
from broken_layers import Honest
from torch import nn
from torch.distributions import Independent, Normal

import invconv
from invconv import NumericalError, build
from invconv.flows import ActNorm, AffineCoupling, Sequential, SplineActivation, Squeeze
from invconv.testing import check_invertible_conv

SHAPE = (4, 2, 3)


class Exp(nn.Module):
    """z = exp(x), on events of any rank."""

    def forward(self, x):
        return x.exp(), x.flatten(1).sum(1)

    def inverse(self, z):
        return z.log()


class Learned(nn.Module):
    """A base with parameters."""

    def __init__(self, *shape):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(shape))

    def now(self):
        return Independent(Normal(self.mean, 1.0), self.mean.ndim)

    def log_prob(self, z):
        return self.now().log_prob(z)

    def sample(self, size):
        return self.now().sample(size)


def normal(*shape, scale=1.0):
    return Independent(Normal(torch.zeros(shape), scale), len(shape))


def mixed(shape):
    """A layer of ours, a part of a flow, a stranger's layer and a nested row."""
    channels = shape[0]
    inner = Sequential(build("woodbury", shape), SplineActivation(bins=4))
    return Sequential(
        build("finc", shape), ActNorm(channels), Honest(shape), inner, AffineCoupling(channels, 5)
    )


@pytest.mark.filterwarnings("ignore:torch.searchsorted:UserWarning")
@pytest.mark.parametrize("factory", [mixed, lambda shape: Sequential()], ids=["mixed", "empty"])
def test_it_keeps_the_contract_of_its_parts(factory):
    skip = {"torch_compile": "takes seconds", "exported_with_any_batch": "takes seconds"}
    check_invertible_conv(factory, [SHAPE], skip=skip)


def test_facts_are_those_of_all_parts():
    exact = Sequential(build("finc", SHAPE), build("cinc", SHAPE))
    assert exact.exact and exact.constant_log_det
    assert not Sequential(exact, Exp()).constant_log_det  # it does not say so
    rough = Exp()
    rough.exact = False
    assert not Sequential(exact, rough).exact
    assert [type(part).__name__ for part in exact] == ["FInC", "CInC"]
    assert len(exact) == 2 and exact[1] is list(exact)[1]


def test_the_density_is_that_of_the_change_of_variables(float64):
    flow = Sequential(Exp(), base=normal(3, scale=2.0))
    x = torch.randn(5, 3)
    expected = -0.5 * (x.exp() / 2).square() - math.log(2) - 0.5 * math.log(2 * math.pi) + x
    torch.testing.assert_close(flow.log_prob(x), expected.sum(1))
    line = torch.linspace(-30, 3, 200_001)[:, None]
    density = Sequential(Exp(), base=normal(1)).log_prob(line).exp()
    # exp of x is positive: half of the normal distribution is left
    assert torch.trapezoid(density, line[:, 0]).item() == pytest.approx(0.5, abs=1e-4)


def test_samples_are_inverses_of_draws():
    flow = Sequential(Squeeze(), build("finc", SHAPE), base=normal(*SHAPE))
    torch.manual_seed(3)
    x = flow.sample(6, check=True)
    torch.manual_seed(3)
    z = flow.base.sample((6,))
    assert x.shape == (6, 1, 4, 6)
    torch.testing.assert_close(flow(x)[0], z)
    assert flow.sample(0).shape == (0, 1, 4, 6)
    with pytest.raises(ValueError, match="n must be an int of at least 0, not -1"):
        flow.sample(-1)


def test_a_base_that_is_a_module_is_trained_and_moved():
    flow = Sequential(build("glow", SHAPE), base=Learned(*SHAPE))
    assert "base.mean" in flow.state_dict()
    (-flow.log_prob(torch.randn(8, *SHAPE)).mean()).backward()
    assert flow.base.mean.grad.abs().sum() > 0
    assert flow.double().sample(2).dtype == torch.float64


def test_every_part_is_initialized_on_what_the_parts_before_it_make():
    flow = Sequential(Exp(), ActNorm(4), Sequential(build("finc", SHAPE), ActNorm(4)))
    x = torch.randn(50, *SHAPE)
    flow.initialize(x)
    for z in (Sequential(*list(flow)[:2])(x)[0], flow(x)[0]):
        torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
        torch.testing.assert_close(z.var((0, 2, 3), correction=0), torch.ones(4))


def test_under_check_the_part_that_failed_is_named():
    good, bad = build("finc", SHAPE), build("finc", (4, 64, 64))
    with torch.no_grad():
        bad.weight.fill_(4.0)
    flow = Sequential(ActNorm(4), Sequential(good, bad))
    z = torch.ones(1, 4, 64, 64)
    assert not flow.inverse(z).isfinite().all()
    with pytest.raises(NumericalError) as caught:
        flow.inverse(z, check=True)
    assert caught.value.layer == "part 1 (Sequential), part 1 (FInC)"
    assert "the inverse overflowed" in str(caught.value)
    with pytest.raises(ValueError, match="that are NaN or infinite"):
        flow.inverse(z / 0, check=True)


def test_parts_that_are_right_alone_may_be_wrong_together():
    """Each loses less than half of what is allowed, all ten more."""

    class Off(Exp):
        def forward(self, x):
            return x + 1, x.new_zeros(len(x))

        def inverse(self, z, *, check=False):
            return (z - 1) * (1 + 1e-5)

    z = torch.randn(3, 4, 2, 2)
    assert Sequential(Off()).inverse(z, check=True).shape == z.shape
    with pytest.raises(NumericalError, match="Sequential: the inverse is not one"):
        Sequential(*(Off() for _ in range(10))).inverse(z, check=True)


def test_what_is_refused():
    with pytest.raises(TypeError, match=r"part 1 must be a torch.nn.Module with an inverse\(z\)"):
        Sequential(ActNorm(4), nn.ReLU())
    with pytest.raises(TypeError, match="part 0 must be"):
        Sequential([ActNorm(4)])
    with pytest.raises(TypeError, match="base must be a distribution with log_prob"):
        Sequential(base="normal")
    x = torch.randn(2, *SHAPE)
    broken = Exp()
    broken.forward = lambda x: (x, x, x)
    with pytest.raises(TypeError, match=r"Exp must return \(z, log_det\), not 3 values"):
        Sequential(broken)(x)
    flow = Sequential(invconv.FInC(4))
    for call in (lambda: flow.log_prob(x), lambda: flow.sample(1)):
        with pytest.raises(ValueError, match="need a base"):
            call()
    flow = Sequential(invconv.FInC(4), base=Normal(torch.zeros(SHAPE), 1.0))
    with pytest.raises(ValueError, match=r"Independent\(base, 3\)"):
        flow.log_prob(x)
