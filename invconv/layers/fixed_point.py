"""A fixed point that inverts a map whose Jacobian is triangular, and its gradient."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from invconv.numerical import NumericalError, allowed_residual

Gap = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x → what is missing, z − f(x), and the diagonal of the Jacobian of f at x."""


class Rule(NamedTuple):
    """How to iterate x ← x + (z − f(x)) / (newton_lr · diagonal), and when to stop.

    Attributes:
        newton_lr: divides each correction; near the solution the iteration converges above 1/2.
        tolerance: of ‖z − f(x)‖ in units of a scale, per image; None to never look at values.
        most: iterations.
    """

    newton_lr: float
    tolerance: float | None
    most: int


def check_rate(value: float, name: str) -> float:
    """Raise ValueError unless ``value``, a newton_lr, is above 1/2, and return it."""
    if not isinstance(value, Real) or not 0.5 < value < math.inf:
        raise ValueError(
            f"{name} must be a number above 1/2, not {value!r}: below it the iteration diverges"
        )
    return value


class Ending(NamedTuple):
    """How an iteration ended.

    Attributes:
        x: (B, …).
        iterations: of each image, (B,); an image that has arrived does not change any more.
        residual: the last ‖z − f(x)‖ of each image in units of its scale, float64 (B,).
    """

    x: Tensor
    iterations: Tensor
    residual: Tensor


def iterate(gap: Gap, x: Tensor, scale: Tensor, rule: Rule) -> Ending:
    """Iterate from ``x``, (B, …), until each image has arrived or does not come closer.

    A residual may rise many times on its way, and fall again: the Jacobian is triangular, so that
    errors move on until they leave the image. Only from `allowed_residual` on are two rises a
    sign of rounding, and the image stops; so does one that is not finite.

    Args:
        gap: see `Gap`.
        x: where to start.
        scale: what residuals are measured in, float64 (B,).
        rule: see `Rule`.
    """
    iterations = torch.zeros(len(x), dtype=torch.long, device=x.device)
    if rule.tolerance is None or x.is_meta:
        for _ in range(0 if x.is_meta else rule.most):
            missing, diagonal = gap(x)
            x = x + missing / (rule.newton_lr * diagonal)
        return Ending(x, iterations + rule.most, torch.zeros_like(scale))
    going = torch.ones_like(iterations, dtype=torch.bool)
    before = torch.full_like(scale, torch.inf)
    rises = torch.zeros_like(iterations)
    enough = allowed_residual(x.dtype)
    for step in range(rule.most + 1):
        missing, diagonal = gap(x)
        residual = image_norms(missing) / scale
        rises += (before <= enough) & (residual >= before)
        going &= (residual > rule.tolerance) & residual.isfinite() & (rises < 2)
        before = residual
        if step == rule.most or not bool(going.any()):
            break
        stepped = x + missing / (rule.newton_lr * diagonal)
        x = torch.where(going[:, None, None, None], stepped, x)
        iterations += going
    return Ending(x, iterations, residual)


def arrived(ending: Ending, given: Tensor, rule: Rule, what: str, layer: str) -> Tensor:
    """x of an ending, if the residual of each image is at most the tolerance or allowed anyway.

    Args:
        ending: see `Ending`.
        given: what x was computed from, (B, …); images of it that are not finite are no fault.
        rule: see `Rule`.
        what: what x is called.
        layer: what the layer is called.

    Raises:
        NumericalError: if a residual exceeds the tolerance and `allowed_residual`.
    """
    x, iterations, residual = ending
    if x.is_meta:
        return x
    allowed = allowed_residual(x.dtype, rule.tolerance or 0)
    bad = ~(residual <= allowed) & given.isfinite().flatten(1).all(1)
    if not bool(bad.any()):
        return x
    worst = residual[bad].max().item()
    found = (
        f"the relative residual is {worst:.1e} after {int(iterations[bad].max())} iterations, "
        f"more than {allowed:.1e}"
        if math.isfinite(worst)
        else "it overflowed, or a parameter is NaN or infinite"
    )
    raise NumericalError(
        f"{what} did not arrive: in {int(bad.sum())} of {len(bad)} images {found}; "
        "use newton_lr=2, which is slower and steadier, smaller weights, or float64",
        layer,
        worst,
    )


def image_norms(x: Tensor) -> Tensor:
    """‖·‖₂ of every image of (B, …), float64 (B,)."""
    return torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.float64)


def opaque(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """``function(*tensors)``, without derivatives; `torch.vmap` calls it once per slice."""
    return _Opaque.apply(function, *tensors)


def attach(missing: Tensor, x: Tensor, adjoint: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """x, with the gradient of the solution of f(x) = z by the implicit function theorem.

    A gradient g of x becomes J⁻ᵀ·g for ``missing``, through which autograd reaches z and the
    parameters of f; J is the Jacobian of f at x.

    Args:
        missing: z − f(x) for ``x`` without gradient, about 0.
        x: the solution.
        adjoint: computes J⁻ᵀ·g of g, x and ``tensors``.
        tensors: without gradient.
    """
    return _Attach.apply(missing, x, adjoint, *tensors)


class _Opaque(torch.autograd.Function):
    @staticmethod
    def forward(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        return function(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        raise NotImplementedError(
            "an inverse by a fixed point has no second derivatives: differentiate it once, or "
            "take those of forward"
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        function: Callable[..., Tensor],
        *tensors: Tensor,
    ) -> tuple[Tensor, int]:
        batched = list(zip(tensors, in_dims[1:], strict=True))
        slices = []
        for i in range(info.batch_size):
            chosen = [one if dim is None else one.select(dim, i) for one, dim in batched]
            slices.append(opaque(function, *chosen))
        return torch.stack(slices), 0


class _Attach(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        missing: Tensor, x: Tensor, adjoint: Callable[..., Tensor], *tensors: Tensor
    ) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, _, ctx.adjoint, *tensors = inputs
        ctx.save_for_backward(output, *tensors)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *tensors = ctx.saved_tensors  # x lets second derivatives be refused
        return opaque(ctx.adjoint, grad, x, *tensors), *[None] * (len(tensors) + 2)
