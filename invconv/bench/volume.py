"""log_det of a part of a flow against its Jacobian by central differences."""

from contextlib import suppress

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from invconv.bijection import Bijection

DIMENSIONS, MOST = 256, 3072
"""log_det is verified on an image cut to about so many numbers; uncut up to the second."""
MOST_WORK = 1e12
"""Floating-point operations of a Jacobian: a minute or two in float64 on two CPU cores."""
STEP = 1e-6
"""Of the central differences."""


def log_det_error(part: Bijection, x: Tensor) -> float | None:
    """|log_det − log|det J|| of one image, for each dimension; None where x is too large."""
    side = 2
    while x.shape[1] * (2 * side) ** 2 <= DIMENSIONS:
        side *= 2
    cut = x[:, :, :side, :side].contiguous()
    with suppress(ValueError, RuntimeError):
        return _compared(part, cut)
    return _compared(part, x) if _affordable(part, x) else None


def _affordable(part: Bijection, x: Tensor) -> bool:
    """Whether x has few enough numbers, and a pass of it, of which two are needed for each."""
    if x.numel() > MOST:
        return False
    with FlopCounterMode(display=False) as counter:
        part.latent(x)
    return 2 * x.numel() * counter.get_total_flops() <= MOST_WORK


def _compared(part: Bijection, x: Tensor) -> float:
    size = x.numel()

    def images_of(batch: Tensor) -> Tensor:
        return part.latent(batch.view(-1, *x.shape[1:])).flatten(1)

    columns = []
    for rows in torch.eye(size, dtype=x.dtype, device=x.device).split(256):
        ends = [images_of(x.flatten(1) + sign * STEP * rows) for sign in (1, -1)]
        columns.append((ends[0] - ends[1]) / (2 * STEP))
    jacobian = torch.cat(columns)
    found = torch.linalg.slogdet(jacobian).logabsdet
    return ((part(x)[1].sum() - found).abs() / size).item()
