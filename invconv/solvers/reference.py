"""The truth: forward substitution in plain loops."""

import torch
from torch import Tensor

from invconv.solvers.problem import Problem


def solve_reference(z: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Solves pixel by pixel, channel by channel and tap by tap, in the dtype of ``z``.

    Serial in everything but the batch. Written without flips, masks or folding, so that it
    shares no code with what it is compared to.
    """
    _, _, height, width = z.shape
    _, per_group, kh, kw = weight.shape
    anchor_row, anchor_column = problem.anchor
    taps = [(i, j) for i in range(kh) for j in range(kw) if (i, j) < problem.anchor]
    order = range(per_group - 1, -1, -1) if problem.upper else range(per_group)
    x = torch.zeros_like(z)
    for group, corner in enumerate(problem.corners):
        down = -1 if corner & 2 else 1
        right = -1 if corner & 1 else 1
        base = group * per_group
        for h in range(height)[::down]:
            for w in range(width)[::right]:
                for position, c in enumerate(order):
                    row = weight[base + c]
                    value = z[:, base + c, h, w].clone()
                    for i, j in taps:
                        hh, ww = h + down * (i - anchor_row), w + right * (j - anchor_column)
                        if 0 <= hh < height and 0 <= ww < width:
                            for d in range(per_group):
                                value -= row[d, i, j] * x[:, base + d, hh, ww]
                    for d in order[:position]:
                        value -= row[d, anchor_row, anchor_column] * x[:, base + d, h, w]
                    x[:, base + c, h, w] = value / row[c, anchor_row, anchor_column]
    return x
