"""The triangular convolution in plain torch, and its weight gradient."""

from collections.abc import Iterator
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from invconv.solvers.problem import Problem, keep_structure, orient

FLIPS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))


def convolve_torch(x: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Convolves with one padded `F.conv2d` per corner: faster than one grouped call."""
    _, per_group, kh, kw = weight.shape
    row, column = problem.anchor
    weight = keep_structure(weight, problem)
    parts = []
    for corner, groups, channels in _runs(problem.corners, per_group):
        flipped = weight[channels].flip(FLIPS[corner]) if corner else weight[channels]
        above = kh - 1 - row if corner & 2 else row
        left = kw - 1 - column if corner & 1 else column
        padded = F.pad(x[:, channels], (left, kw - 1 - left, above, kh - 1 - above))
        parts.append(F.conv2d(padded, flipped, groups=groups))
    return torch.cat(parts, 1).contiguous()


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
