"""The inverse of a triangular convolution."""

from collections.abc import Sequence

import torch
from torch import Tensor

from invconv.solvers.convolution import autocast_to_float32, convolve
from invconv.solvers.methods import resolve
from invconv.solvers.operator import solve, solve_out_op
from invconv.solvers.problem import Problem, keep_structure, parse_problem
from invconv.solvers.verify import check_inverse
from invconv.validation import check_finite


def solve_triangular_conv2d(
    z: Tensor,
    weight: Tensor,
    *,
    anchor: tuple[int, int] | str | None = None,
    corners: str | Sequence[str] = "tl",
    upper: bool = False,
    method: str = "auto",
    out: Tensor | None = None,
    check: bool = False,
) -> Tensor:
    """Finds x with ``triangular_conv2d(x, weight, ...) == z``.

    Pixels on one wavefront t = slope·row + column, slope = kw − anchor column, are independent,
    so that slope·(H−1) + W dependent steps suffice: 2n−1 for a corner anchor (FInC,
    arXiv 2301.09266, section 3.3). Differentiable in z and weight; the backward pass is the same
    solve from the opposite corners with the weight transposed in channels.

    Args:
        z: (B, C, H, W), floating point.
        weight: (C, C', kh, kw) as in `triangular_conv2d`; what that does not read is not read.
        anchor, corners, upper: as in `triangular_conv2d`.
        method: which code runs, never what is computed: "auto", "wavefront" or "reference".
        out: a tensor of the shape, dtype and device of z that receives x, and may be z itself;
            refused where gradients are needed.
        check: whether to look at values, which synchronises a device: the input is finite, the
            anchor tap is invertible, the result is finite and its residual
            ‖conv(x) − z‖ / ‖z‖ is at most eps^(2/3) of the dtype (2.4e-5 in float32).

    Returns:
        x, (B, C, H, W), contiguous unless ``out`` is given.

    Raises:
        TypeError: if z or weight is no floating-point tensor or the dtypes differ.
        ValueError: if shapes, anchor, corners, devices, method or ``out`` do not fit; under
            ``check`` also if z is not finite or the anchor tap is singular.
        InverseError: under ``check``, if the result overflowed or its residual is too large.
    """
    z, weight = autocast_to_float32(z, weight)
    problem = parse_problem(z, weight, anchor, corners, upper, "z")
    name = resolve(method, z, weight)
    arguments = (z, weight, list(problem.anchor), list(problem.corners), problem.upper, name)
    if out is not None:
        _check_out(out, z, weight)
    if check:
        check_finite(z)
        _check_anchor(weight, problem)
    reference = z.clone() if check and out is not None else z
    if out is None:
        x = solve(*arguments)
    else:
        solve_out_op(*arguments, out)
        x = out
    if check:
        with torch.no_grad():
            _check_residual(x, reference, weight, problem)
    return x


def _check_out(out: Tensor, z: Tensor, weight: Tensor) -> None:
    if out.shape != z.shape or out.dtype != z.dtype or out.device != z.device:
        raise ValueError(
            f"out must match z: shape {tuple(z.shape)}, {z.dtype}, {z.device}, "
            f"not shape {tuple(out.shape)}, {out.dtype}, {out.device}"
        )
    if torch.is_grad_enabled() and (z.requires_grad or weight.requires_grad or out.requires_grad):
        raise ValueError("out= has no gradient: leave it away, or call under torch.no_grad()")


def _check_anchor(weight: Tensor, problem: Problem) -> None:
    row, column = problem.anchor
    per_group = weight.shape[1]
    a0 = weight.detach()[:, :, row, column].view(problem.groups, per_group, per_group)
    diagonal = a0.diagonal(dim1=1, dim2=2).flatten()
    bad = torch.nonzero((diagonal == 0) | ~torch.isfinite(diagonal)).flatten()
    if len(bad):
        channel = int(bad[0])
        raise ValueError(
            f"the anchor tap is singular: its diagonal entry for channel {channel} is "
            f"{diagonal[channel].item()}; every one must be finite and not zero"
        )


def _check_residual(x: Tensor, z: Tensor, weight: Tensor, problem: Problem) -> None:
    again = convolve(x.double(), keep_structure(weight.double(), problem), problem)
    check_inverse(x, again, z)
