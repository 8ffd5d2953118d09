"""Invert a convolution with zero padding by refining a learned approximate inverse."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import Library, register_autograd, register_fake, register_vmap
from torch.nn.grad import conv2d_weight

from invconv.layers.fixed_point import image_norms
from invconv.modes import is_recording, no_autocast
from invconv.numerical import NumericalError, allowed_residual

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
"""What is computed in → the relative residual at which refining ends."""
MOST_STEPS = 200
"""Enough at a contraction of 0.93 in float32 and 0.87 in float64."""
DIVERGED = 1e6
POWER_STEPS = 100
_NAME = "invconv::refine_inverse"


def tolerance(dtype: torch.dtype) -> float:
    """The relative residual at which refining ends for weights of ``dtype``."""
    return TOLERANCE[torch.promote_types(dtype, torch.float32)]


class Refinement(NamedTuple):
    """What refining an inverse took, of the worst image of a batch.

    Attributes:
        steps: of two convolutions each, after the first x = R*z.
        residual: ‖z − W*x‖ / ‖z‖ in the end.
        one_shot: the same of the first x.
        contraction: an estimate of ‖I − R·W‖ from below, by power iteration.
    """

    steps: int
    residual: float
    one_shot: float
    contraction: float


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """K*x with zeros around x, of the size of x."""
    return F.conv2d(x, kernel, padding="same")


def adjoint(kernel: Tensor) -> Tensor:
    """The kernel of the transposed map, (C, C, k, k)."""
    return kernel.flip(2, 3).transpose(0, 1)


def solve(z: Tensor, weight: Tensor, inverse_weight: Tensor) -> Tensor:
    """x with W*x = z, by x ← x + R*(z − W*x) from x = R*z.

    Computed in float32 at least, until ‖z − W*x‖ ≤ 1e-6·‖z‖ for every image, 1e-12 in float64; if
    rounding keeps it larger, until it is no longer reduced. Differentiable in z and W: the
    backward pass refines with the transposed maps. R has no gradient, as x does not depend on it.

    Raises:
        NumericalError: if that takes too many steps, with the measured ‖I − R·W‖.
    """
    if is_recording():
        return _refine_op(z, weight, inverse_weight)
    return _Solve.apply(z, weight, inverse_weight)


def measure(z: Tensor, weight: Tensor, inverse_weight: Tensor) -> Refinement:
    """How `solve` fares for z, also where it refuses."""
    with torch.no_grad():
        _, steps, residual, one_shot, _ = _refine(z, weight, inverse_weight)
        return Refinement(steps, residual, one_shot, contraction(z, weight, inverse_weight))


def refine(z: Tensor, weight: Tensor, inverse_weight: Tensor, steps: int) -> Tensor:
    """x by so many steps, and a last look at the residual that ends `solve`."""
    x = convolve(z, inverse_weight)
    for _ in range(steps):
        x = x + convolve(z - convolve(x, weight), inverse_weight)
    return torch.where((z - convolve(x, weight)).isfinite(), x, torch.nan)


@torch.no_grad()
def contraction(like: Tensor, weight: Tensor, inverse_weight: Tensor) -> float:
    """‖I − R·W‖₂ for images of the size of ``like``, from below, by power iteration."""
    w, r = weight.detach().double(), inverse_weight.detach().double()
    generator = torch.Generator("cpu").manual_seed(0)
    v = torch.randn((1, *like.shape[1:]), dtype=w.dtype, device="cpu", generator=generator).to(w)
    norm = 0.0
    for _ in range(POWER_STEPS):
        v = v / v.norm().clamp(min=torch.finfo(w.dtype).tiny)
        e = v - convolve(convolve(v, w), r)
        norm = e.norm().item()
        v = e - convolve(convolve(e, adjoint(r)), adjoint(w))
    return norm


def _run(z: Tensor, weight: Tensor, inverse_weight: Tensor) -> Tensor:
    """What the operator computes on tensors with values."""
    if not z.numel():
        return torch.empty_like(z)
    x, steps, residual, _, converged = _refine(z, weight, inverse_weight)
    if not converged:
        if not all(bool(w.isfinite().all()) for w in (weight, inverse_weight)):
            return torch.full_like(z, torch.nan)
        norm = contraction(z, weight, inverse_weight)
        raise NumericalError(
            f"the learned inverse cannot be refined: ‖I − R·W‖ is {norm:.2g} or more, and must be "
            f"well below 1; after {steps} steps the relative residual is {residual:.1e}; train "
            "with a larger penalty, or use the one step of inverse_method='published'",
            "SelfNormalizingConv",
            residual,
        )
    return x.to(z.dtype).contiguous()


_library = Library("invconv", "FRAGMENT")
_library.define("refine_inverse(Tensor z, Tensor weight, Tensor inverse_weight) -> Tensor")
_library.impl("refine_inverse", _run, "CompositeExplicitAutograd")


@register_fake(_NAME, lib=_library)
def _fake(z: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(z, memory_format=torch.contiguous_format)


class _Solve(torch.autograd.Function):
    """The formulas of the operator in the form that `torch.func` can compose."""

    @staticmethod
    def forward(*given: Tensor) -> Tensor:
        return _refine_op(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output, *inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, inverse_weight = ctx.saved_tensors
        y = solve(gradient, adjoint(weight), adjoint(inverse_weight))
        if not ctx.needs_input_grad[1]:
            return y, None, None
        images, like = x.to(weight.dtype), y.to(weight.dtype)
        padding = weight.shape[2] // 2
        return y, -conv2d_weight(images, weight.shape, like, padding=padding), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Tensor) -> tuple[Tensor, int]:
        """One call after the other: each takes as many steps as it needs."""
        parts = [
            [
                part if dim is None else part.select(dim, i)
                for part, dim in zip(given, in_dims, strict=True)
            ]
            for i in range(info.batch_size)
        ]
        return torch.stack([solve(*part) for part in parts]), 0


register_autograd(_NAME, _Solve.backward, setup_context=_Solve.setup_context, lib=_library)
register_vmap(_NAME, _Solve.vmap, lib=_library)
_refine_op = torch.ops.invconv.refine_inverse.default


def _refine(
    z: Tensor, weight: Tensor, inverse_weight: Tensor
) -> tuple[Tensor, int, float, float, bool]:
    """x, the steps, the last and the first residual of the worst image, and whether it will do.

    Images of NaN or infinity are left out of the residual.
    """
    dtype = torch.promote_types(torch.promote_types(z.dtype, weight.dtype), torch.float32)
    with no_autocast(z.device):
        z, w, r = (t.to(dtype) for t in (z, weight, inverse_weight))
        sizes = image_norms(z)
        counted = sizes.isfinite()
        sizes = sizes[counted].clamp(min=torch.finfo(torch.float64).tiny)

        def worst(rest: Tensor) -> float:
            errors = image_norms(rest)[counted] / sizes
            return errors.amax().item() if len(errors) else 0.0

        x = convolve(z, r)
        rest = z - convolve(x, w)
        first = residual = worst(rest)
        steps = 0
        while residual > TOLERANCE[dtype] and residual < DIVERGED and steps < MOST_STEPS:
            closer = x + convolve(rest, r)
            rest = z - convolve(closer, w)
            found = worst(rest)
            if residual <= allowed_residual(dtype) and not found < residual:
                return x, steps, residual, first, True
            x, residual, steps = closer, found, steps + 1
        return x, steps, residual, first, residual <= TOLERANCE[dtype]
