"""The triangular convolution in plain torch, and its weight gradient."""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from invconv.modes import full_float32
from invconv.solvers.problem import FLIPS, Problem, keep_structure
from invconv.validation import no_pixels


def convolve_torch(x: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Convolves with one padded `F.conv2d` per corner: faster than one grouped call.

    On a GPU without TF32, which torch otherwise uses for convolutions: this is the inverse of what
    the kernels solve in full float32.
    """
    if no_pixels(x):
        return x.clone()
    parts = []
    weight = keep_structure(weight, problem)
    with full_float32(x.device):
        for run in _runs(weight, problem):
            taps = weight[run.channels].flip(run.flips)
            parts.append(F.conv2d(F.pad(x[:, run.channels], run.pad), taps, groups=run.groups))
    return torch.cat(parts, 1).contiguous()


def weight_gradient(x: Tensor, grad_z: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """The gradient of ⟨grad_z, convolve(x, weight)⟩ in weight, zero where nothing is read.

    On a GPU without TF32, as `convolve_torch`.
    """
    if not x.numel():
        return torch.zeros_like(weight)
    parts = []
    with full_float32(x.device):
        for run in _runs(weight, problem):
            padded, grad = F.pad(x[:, run.channels], run.pad), grad_z[:, run.channels]
            taps = conv2d_weight(padded, weight[run.channels].shape, grad, groups=run.groups)
            parts.append(taps.flip(run.flips))
    return keep_structure(torch.cat(parts), problem)


class _Run(NamedTuple):
    """Neighboring groups with one corner, and what turns it into an ordinary convolution."""

    groups: int
    channels: slice
    flips: tuple[int, ...]
    pad: tuple[int, int, int, int]


def _runs(weight: Tensor, problem: Problem) -> Iterator[_Run]:
    _, per_group, kh, kw = weight.shape
    row, column = problem.anchor
    start = 0
    for corner, members in groupby(problem.corners):
        groups = len(list(members))
        above = kh - 1 - row if corner & 2 else row
        left = kw - 1 - column if corner & 1 else column
        channels = slice(start, start + groups * per_group)
        pad = (left, kw - 1 - left, above, kh - 1 - above)
        yield _Run(groups, channels, FLIPS[corner], pad)
        start = channels.stop
