"""The conformance kit catches what it says it catches."""

import inspect
import re

import pytest
import torch
from broken_layers import BROKEN, DroppedGradient, Honest, WrongSign
from torch import nn

from invconv.testing import (
    CHECKS,
    caches,
    check_invertible_conv,
    formats,
    gradients,
    inputs,
    state,
    transforms,
    values,
)

SHAPE = (3, 2, 3)


def failures(factory, checks, **options):
    """Name of each of ``checks`` that failed → its line."""
    skip = {name: "not asked" for name in CHECKS if name not in checks}
    try:
        check_invertible_conv(factory, [SHAPE], skip=skip, compiler="eager", **options)
    except AssertionError as error:
        lines = str(error).splitlines()
        return {re.match(r"\[(\w+)\] shape ", line)[1]: line for line in lines}
    return {}


def test_a_layer_that_only_follows_the_contract_passes():
    check_invertible_conv(Honest, [SHAPE, (1, 1, 1), (2, 4, 1)], compiler="eager")


class Turned(nn.Module):
    """No parameters, and a log_det that is zero but for rounding."""

    def forward(self, x):
        noise = torch.finfo(x.dtype).eps * torch.arange(x.shape[0]).to(x)
        return x.flip(1, 2).roll(1, 3), noise

    def inverse(self, z):
        return z.roll(-1, 3).flip(1, 2)


def test_a_layer_without_parameters_passes():
    check_invertible_conv(lambda shape: Turned(), [SHAPE], compiler="eager")


@pytest.mark.parametrize("layer", BROKEN, ids=lambda layer: layer.__name__)
def test_a_broken_layer_is_caught(layer):
    assert set(failures(layer, BROKEN[layer])) == set(BROKEN[layer])


def test_every_check_catches_some_layer():
    assert {name for names in BROKEN.values() for name in names} == set(CHECKS)


def test_every_check_is_run():
    for part in (caches, formats, gradients, inputs, state, transforms, values):
        for name, function in vars(part).items():
            if inspect.isfunction(function) and function.__module__ == part.__name__:
                takes_a_case = list(inspect.signature(function).parameters) == ["case"]
                assert (name in CHECKS) == (takes_a_case and not name.startswith("_")), name
    assert all(function.__doc__ for function in CHECKS.values())


def test_a_failure_is_one_readable_line():
    line = failures(WrongSign, ["log_det_dense"])["log_det_dense"]
    number = r"(-?\d\.\d+)"
    found = re.fullmatch(
        rf"\[log_det_dense\] shape \(3, 2, 3\), float64: log_det is {number}, "
        rf"slogdet of the Jacobian {number}",
        line,
    )
    assert float(found[1]) == pytest.approx(-float(found[2]), rel=1e-4)

    def unbuildable(shape):
        raise OSError("no\nlayer")

    with pytest.raises(AssertionError) as caught:
        check_invertible_conv(unbuildable, [SHAPE])
    assert str(caught.value).startswith(
        "[class_facts] shape (3, 2, 3), float64: OSError: no layer\n[shapes] shape"
    )
    cause = caught.value.__cause__
    assert len(cause.exceptions) == len(CHECKS)
    assert {type(error) for error in cause.exceptions} == {OSError}


def test_excuses_and_bad_arguments():
    check_invertible_conv(
        WrongSign,
        [SHAPE],
        skip={"log_det_dense": "known, see issue 1", "torch_compile": "slow"},
    )
    for skip, message in (
        ({"log_det": "x"}, "unknown check 'log_det'; known: class_facts, shapes"),
        ({"shapes": " "}, "must say why"),
    ):
        with pytest.raises(ValueError, match=message):
            check_invertible_conv(Honest, [SHAPE], skip=skip)
    for shapes, dtypes in (([], [torch.float32]), ([SHAPE], [])):
        with pytest.raises(ValueError, match="at least one each"):
            check_invertible_conv(Honest, shapes, dtypes)
    with pytest.raises(ValueError, match="shape must be"):
        check_invertible_conv(Honest, [(3, 0, 2)])


def test_the_caller_sees_no_trace():
    """Neither the random numbers nor the gradient mode."""
    before = torch.get_rng_state()
    with torch.no_grad():
        assert failures(DroppedGradient, ["gradients"])
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)


class Newton(Honest):
    """Says itself that its inverse is none to the last digit."""

    exact, tolerance = False, 1e-6

    def inverse(self, z):
        return super().inverse(z) * (1 + 1e-7)


def test_a_layer_that_is_not_exact_may_be_off():
    skip = {"torch_compile": "slow"}
    check_invertible_conv(Newton, [SHAPE], [torch.float64], skip=skip)
    Newton.exact = True
    try:
        assert "inverse_of_forward" in failures(Newton, ["inverse_of_forward"])
    finally:
        Newton.exact = False


def test_a_tolerance_has_to_be_stated_and_met():
    for stated, said in ((0.0, "must say how far"), (1e-9, "the layer states 1.0e-09")):
        layer = type("Other", (Newton,), {"tolerance": stated})
        found = failures(layer, ["tolerance_met"], dtypes=[torch.float64])
        assert said in found["tolerance_met"]


class Damped(Honest):
    """Goes nine tenths of the way to z again and again, and stops before it is there."""

    exact, tolerance = False, 1e-6

    def inverse(self, z):
        x = torch.zeros_like(z)
        for _ in range(10):
            rest = z - self.convolve(x)
            x = x + 0.9 * torch.einsum("cd,bdhw->bchw", self.inverse_triangle(), rest)
        return x


def test_an_iteration_passes_if_it_says_so():
    assert "inverse_of_forward" in failures(
        type("Claims", (Damped,), {"exact": True}), ["inverse_of_forward"]
    )
    check_invertible_conv(Damped, [SHAPE], skip={"torch_compile": "slow"})
