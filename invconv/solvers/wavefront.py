"""The wavefront in plain torch: all pixels of one diagonal at once, on any device."""

import torch
import torch.nn.functional as F
from torch import Tensor

from invconv.solvers.problem import Problem, keep_structure, orient


def fold_anchor(weight: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
    """Folds the anchor tap A0 into the others, in float64.

    Returns:
        A0⁻¹ of shape (G, C', C') and −A0⁻¹W of shape (G, C', C', kh, kw) with zeros at the anchor
        and after it, both in float64: x[p] = A0⁻¹ z[p] − Σ (A0⁻¹ W_o) x[p + o].
    """
    _, per_group, kh, kw = weight.shape
    groups, (row, column) = problem.groups, problem.anchor
    taps = keep_structure(weight, problem).double().view(groups, per_group, per_group, kh, kw)
    a0 = taps[..., row, column].clone()
    identity = torch.eye(per_group, dtype=a0.dtype, device=a0.device).expand_as(a0)
    inverse = torch.linalg.solve_triangular(a0, identity, upper=problem.upper)
    folded = -(inverse @ taps.flatten(2)).view_as(taps)
    folded[..., row, column] = 0
    return inverse, folded


def solve_wavefront(z: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Solves diagonal by diagonal: slope·(H−1) + W steps of one batched matrix product each.

    Half precision is computed in float32. Memory: a copy of the input in another layout, the
    padded result and the k² neighbors of one diagonal.
    """
    dtype = torch.promote_types(z.dtype, torch.float32)
    batch, channels, height, width = z.shape
    per_group, kw = weight.shape[1], weight.shape[3]
    if not z.numel():
        return torch.empty_like(z)
    groups, (row, column) = problem.groups, problem.anchor
    slope = problem.slope(kw)
    right = kw - 1 - column

    inverse, folded = (part.to(dtype) for part in fold_anchor(weight, problem))
    taps = folded[..., : row + 1, :].reshape(groups, per_group, -1)

    z = orient(z, problem.corners).to(dtype)
    z = z.view(batch, groups, per_group, height, width).permute(1, 2, 3, 4, 0)
    z = F.pad(z, (0, 0, 0, max(0, slope - width)))  # strides of a diagonal are not negative
    z = (inverse @ z.reshape(groups, per_group, -1)).view(z.shape)
    x = z.new_zeros(groups, per_group, height + row, column + width + right, batch)
    zg, zc, zh, zw, zb = z.stride()
    xg, xc, xh, xw, xb = x.stride()

    for t in range(problem.steps(height, width, kw)):
        first = max(0, -((width - 1 - t) // slope))
        count = min(height - 1, t // slope) - first + 1
        if count < 1:
            continue
        start = t - slope * first
        here = z.as_strided(
            (groups, per_group, count, batch),
            (zg, zc, zh - slope * zw, zb),
            first * zh + start * zw,
        )
        neighbors = x.as_strided(
            (groups, per_group, row + 1, kw, count, batch),
            (xg, xc, xh, xw, xh - slope * xw, xb),
            first * xh + start * xw,
        )
        right_side = here.reshape(groups, per_group, -1)
        known = neighbors.reshape(groups, taps.shape[2], -1)
        value = torch.baddbmm(right_side, taps, known)
        x.as_strided(
            here.shape,
            (xg, xc, xh - slope * xw, xb),
            (first + row) * xh + (start + column) * xw,
        ).copy_(value.view(here.shape))

    inside = x[:, :, row:, column : column + width]
    result = inside.permute(4, 0, 1, 2, 3).reshape(batch, channels, height, width)
    return orient(result, problem.corners).to(weight.dtype).contiguous()
