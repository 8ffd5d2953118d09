"""Taps of a triangular convolution that are fitted to data, by `invconv.layers.optimal`."""

from itertools import product

import torch
from torch import Tensor

from invconv.layers.optimal import Mask, fit
from invconv.solvers.problem import Problem
from invconv.validation import check_finite

RIDGE = 1e-4
"""The noise that is added to what taps are fitted to, as a part of its variance."""


def mask_of(problem: Problem, kernel: tuple[int, int]) -> Mask:
    """Return what a triangular convolution sees, the offsets of a group in the order of its taps.

    >>> from invconv.layers.fitted import mask_of
    >>> from invconv.solvers.problem import Problem
    >>> mask_of(Problem((1, 1), (3,), False), (2, 2)).groups  # from the bottom right
    (((1, 1), (1, 0), (0, 1)),)
    """
    row, column = problem.anchor
    places = list(product(range(kernel[0]), range(kernel[1])))[: row * kernel[1] + column]
    groups = []
    for corner in problem.corners:
        down, right = -1 if corner & 2 else 1, -1 if corner & 1 else 1
        groups.append(tuple((down * (i - row), right * (j - column)) for i, j in places))
    return Mask(tuple(groups), problem.upper)


def fitted(x: Tensor, problem: Problem, kernel: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the taps that leave least of ``x``, and the variance that they leave.

    Args:
        x: (B, C, H, W), of which a mean for each channel is removed.
        problem: anchor, corners and triangle of the convolution.
        kernel: (kh, kw).

    Returns:
        float64 on a CPU: the kernel (C, C/G, kh, kw) with ones on its diagonal and zeros wherever
        it is not read; (C,).

    Raises:
        ValueError: if there are no values, or some are not finite.
    """
    check_finite(x, "x")
    if not x.numel():
        raise ValueError(f"there are no values to fit taps to: x has shape {tuple(x.shape)}")
    images = x.detach().cpu().double()
    images = images - images.mean((0, 2, 3), keepdim=True)
    mask = mask_of(problem, kernel)
    found = fit(images, mask, RIDGE * images.square().mean().item())
    channels, size = x.shape[1], x.shape[1] // len(mask.groups)
    taps = torch.zeros(channels, size, kernel[0] * kernel[1], dtype=torch.float64)
    for channel in range(channels):
        group = channel // size
        places = [mask.offsets.index(offset) for offset in (*mask.groups[group], (0, 0))]
        own = found.weight[channel, places, group * size : (group + 1) * size]
        taps[channel, :, : len(places)] = own.T
    return taps.unflatten(2, kernel), found.variance
