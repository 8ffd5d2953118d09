"""The triangular convolution and its weight gradient, both differentiable torch compositions."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from invconv.solvers.problem import Problem, keep_structure, orient, parse_problem

FLIPS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))


def triangular_conv2d(
    x: Tensor,
    weight: Tensor,
    *,
    anchor: tuple[int, int] | str | None = None,
    corners: str | Sequence[str] = "tl",
    upper: bool = False,
) -> Tensor:
    """Convolves with a kernel whose matrix is triangular in raster order.

    For a group that runs from the top left corner, with the anchor at row a and column b,

        z[c, h, w] = Σ weight[c, d, i, j] · x[d, h + i − a, w + j − b],

    summed over the taps (i, j) before the anchor in raster order and over d ≤ c (d ≥ c if
    ``upper``) at the anchor; x is zero outside the image. The other corners flip the width
    ("tr"), the height ("bl") or both ("br") of input and output; weights are always stored in
    top-left orientation. FInC's padded convolution (arXiv 2301.09266, section 3.1) is the corner
    anchor; Emerging's raster mask (arXiv 1901.11137, section 3.1) the centre one.

    Args:
        x: (B, C, H, W), floating point.
        weight: (C, C', kh, kw), C // C' groups. Entries after the anchor and in the other channel
            triangle of the anchor tap are never read and get zero gradient.
        anchor: (row, column) of the tap that meets the current pixel; None for the last tap, or
            "center".
        corners: "tl", "tr", "bl", "br", or a sequence with one of them per group.
        upper: whether the anchor tap is upper triangular in channels.

    Returns:
        z, (B, C, H, W), dtype and device of x.

    Raises:
        TypeError: if x or weight is no floating-point tensor or the dtypes differ.
        ValueError: if shapes, anchor, corners or devices do not fit.
    """
    x, weight = autocast_to_float32(x, weight)
    problem = parse_problem(x, weight, anchor, corners, upper, "x")
    return convolve(x, keep_structure(weight, problem), problem)


def autocast_to_float32(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Under autocast, the tensors in float32: a recurrence does not survive half precision."""
    if isinstance(tensors[0], Tensor) and torch.is_autocast_enabled(tensors[0].device.type):
        return tuple(
            t.float() if t.is_floating_point() and t.dtype != torch.float64 else t for t in tensors
        )
    return tensors


def convolve(x: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """`triangular_conv2d` for a weight whose unread entries are zero already."""
    _, per_group, kh, kw = weight.shape
    row, column = problem.anchor
    with torch.autocast(x.device.type, enabled=False):
        parts = []
        for corner, groups, channels in _runs(problem.corners, per_group):
            flipped = weight[channels].flip(FLIPS[corner]) if corner else weight[channels]
            above = kh - 1 - row if corner & 2 else row
            left = kw - 1 - column if corner & 1 else column
            padded = F.pad(x[:, channels], (left, kw - 1 - left, above, kh - 1 - above))
            parts.append(F.conv2d(padded, flipped, groups=groups))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _runs(corners: tuple[int, ...], per_group: int) -> Iterator[tuple[int, int, slice]]:
    """Neighbouring groups with one corner: corner, number of groups, their channels."""
    start = 0
    for corner, run in groupby(corners):
        groups = len(list(run))
        yield corner, groups, slice(start, start + groups * per_group)
        start += groups * per_group


def weight_gradient(x: Tensor, grad_z: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """The gradient of ⟨grad_z, convolve(x, weight)⟩ in weight, zero where nothing is read."""
    _, _, kh, kw = weight.shape
    row, column = problem.anchor
    x = F.pad(orient(x, problem.corners), (column, kw - 1 - column, row, kh - 1 - row))
    grad = conv2d_weight(x, weight.shape, orient(grad_z, problem.corners), groups=problem.groups)
    return keep_structure(grad, problem)
