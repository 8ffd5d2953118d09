"""Checks of gradients: their values, whom they reach, and calls that share a graph."""

from dataclasses import replace

import torch
from torch import Tensor

from invconv.testing.case import (
    Case,
    Inverse,
    Layer,
    gradients_of,
    norm,
    outputs,
    require,
    trainable,
)


def gradients(case: Case) -> None:
    """`torch.autograd.gradcheck` of z and log_det in x and all parameters (float64 only)."""
    _gradcheck(case, case.build())


def gradients_of_inverse(case: Case) -> None:
    """`torch.autograd.gradcheck` of the inverse in z and all parameters (float64 only).

    If the inverse is not exact, with steps and tolerances that leave room for its errors.
    """
    _gradcheck(case, Inverse(case.build()), case.exact)


def _gradcheck(case: Case, module: torch.nn.Module, exact: bool = True) -> None:
    if case.dtype != torch.float64:
        return
    step, atol, rtol = 1e-6, 1e-5, 1e-3
    if not exact:  # an error δ of values is one of δ/ε in a difference quotient of steps ε
        step = case.inverse_tolerance**0.5
        atol = rtol = 10 * step
    parameters = trainable(module)

    def call(x: Tensor, *values: Tensor) -> Tensor:
        state = dict(zip(parameters, values, strict=True))
        result = torch.func.functional_call(module, state, x)
        # One tensor: gradcheck passes over an output that has no gradient at all.
        parts = result if isinstance(result, tuple) else (result,)
        return torch.cat([part.flatten() for part in parts])

    x = case.images(2).requires_grad_()
    leaves = (x, *parameters.values())
    torch.autograd.gradcheck(call, leaves, eps=step, atol=atol, rtol=rtol, fast_mode=True)


def gradients_in_low_precision(case: Case) -> None:
    """Gradients in other dtypes than float64 are those of a copy in float64."""
    if case.dtype == torch.float64:
        return
    layer, x, weight = case.build(), case.images(), case.images(seed=2)
    double = replace(case, dtype=torch.float64).copy_of(layer)
    truth = gradients_of(double, x.double(), weight.double())
    case.same_gradients(gradients_of(layer, x, weight), truth, "against a copy in float64")


def every_parameter(case: Case) -> None:
    """Every parameter gets a finite gradient from z, log_det and the inverse.

    At the largest shape it may not be all zero.
    """
    layer = case.build()
    x = case.images()
    z, log_det = layer(x)
    weight = case.images(seed=2)
    loss = (weight * z).sum() + log_det.sum() + (weight * layer.inverse(x)).sum()
    require(loss.requires_grad or not trainable(layer), "no parameter gets a gradient")
    if loss.requires_grad:
        loss.backward()
    for name, parameter in trainable(layer).items():
        grad = parameter.grad
        if grad is None:
            raise AssertionError(f"{name} gets no gradient")
        require(bool(grad.isfinite().all()), f"the gradient of {name} holds NaN or infinity")
        require(bool(grad.any()) or not case.largest, f"the gradient of {name} is zero")


def frozen_parameters(case: Case) -> None:
    """The gradient in x is the same where no parameter wants one."""
    layer, frozen = case.build(), case.build()
    frozen.load_state_dict(layer.state_dict())
    frozen.requires_grad_(False)
    found, truth = _through_twice(case, frozen, frozen), _through_twice(case, layer, layer)
    case.same(found, truth, "the gradient in x of a layer with frozen parameters")


def gradient_through_the_round_trip(case: Case) -> None:
    """The gradient of inverse(forward(x)) is the identity in x and zero in the parameters."""
    layer = case.build()
    x, weight = case.images().requires_grad_(), case.images(seed=2)
    parameters = trainable(layer)

    def gradient(y: Tensor) -> tuple[Tensor | None, ...]:
        loss = (weight * y).sum()
        return torch.autograd.grad(loss, (x, *parameters.values()), allow_unused=True)

    one_way = gradient(layer(x)[0])
    grad, *rest = gradient(layer.inverse(layer(x)[0]))
    require(grad is not None, "inverse(forward(x)) has no gradient in x")
    allowed = case.inverse_tolerance
    what = "the gradient of inverse(forward(x)) in x"
    case.same(torch.as_tensor(grad), weight, what, allowed)
    scale = x.numel() * norm(one_way)
    for name, change in zip(parameters, rest, strict=True):
        if change is not None:
            what = f"the gradient of inverse(forward(x)) in {name}, on which it does not depend"
            case.same(change, torch.zeros_like(change), what, allowed, scale)


def double_use(case: Case) -> None:
    """A layer used twice in one graph gets the gradients of two copies, added up.

    In eval mode, too, those of copies in training mode, which keep nothing.
    """
    for training in (True, False):
        layer = case.build().train(training)
        copies = [case.copy_of(layer) for _ in range(2)]
        outputs(layer, case.images())
        found, truth = _through_twice(case, layer, layer), _through_twice(case, *copies)
        case.same(found, truth, "the gradient in x of a layer used twice")
        sums = {name: torch.zeros_like(p) for name, p in trainable(layer).items()}
        for copy in copies:
            for name, parameter in trainable(copy).items():
                if parameter.grad is not None:
                    sums[name] += parameter.grad
        for name, parameter in trainable(layer).items():
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            what = f"the gradient of {name} of a layer used twice"
            case.same(grad, sums[name], what, scale=norm(sums.values()))


def _through_twice(case: Case, first: Layer, second: Layer) -> Tensor:
    """Backward through ``second`` after ``first``, forward and inverse; the gradient in x."""
    x = case.images().requires_grad_()
    y, log_det = first(x)
    z, more = second(y)
    loss = (case.images(seed=2) * (z + first.inverse(y) + second.inverse(z))).sum()
    (loss + log_det.sum() + more.sum()).backward()
    assert x.grad is not None
    return x.grad


CHECKS = (
    gradients,
    gradients_of_inverse,
    gradients_in_low_precision,
    every_parameter,
    frozen_parameters,
    gradient_through_the_round_trip,
    double_use,
)
