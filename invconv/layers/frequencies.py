"""Circular convolutions: a product with one matrix at each frequency of `torch.fft.rfft2`."""

import math

import torch
from torch import Tensor

from invconv.modes import is_recording

VALUES_PER_PART = 2**18
"""How many real values of a batch are transformed at a time."""


def spectrum(weight: Tensor, height: int, width: int) -> Tensor:
    """Ŵ of a kernel (C, D, k, k) at the frequencies of `rfft2`, (H, W // 2 + 1, C, D), complex128.

    It is that of z[c, h, w] = Σ W[c, d, i, j]·x[d, (h + i − a) mod H, (w + j − a) mod W] with
    a = (k−1) // 2; the frequencies that `rfft2` leaves out have the conjugate matrices.
    """
    kernel_size = weight.shape[2]
    weight = weight.double()
    offset = torch.arange(kernel_size, device=weight.device).double() - (kernel_size - 1) // 2
    row = torch.outer(torch.arange(height).to(offset) / height, offset)
    column = torch.outer(torch.arange(width // 2 + 1).to(offset) / max(1, width), offset)
    angle = 2 * math.pi * (row[:, None, :, None] + column[None, :, None, :])
    phase = torch.polar(torch.ones_like(angle), angle)
    return torch.einsum("uvij,cdij->uvcd", phase, weight.to(phase.dtype))


def rounded(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """(H, V, C, D) as (H·V, C, D), real and imaginary parts in ``dtype``, float32 at least.

    Row-major: torch.compile (2.13) transposes other complex matrices in its backward pass.
    """
    parts = torch.view_as_real(matrices.contiguous()).to(real_dtype(dtype))
    return torch.view_as_complex(parts).flatten(0, 1)


def multiply(x: Tensor, matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """The real image in ``dtype`` whose spectrum is matrices·x̂; they are (H·(W // 2 + 1), C, C).

    The transforms go through the batch in parts that stay in a CPU's cache.
    """
    if not x.numel():
        return x.clone()
    size, real = x.shape[2:], x.to(real_dtype(dtype))
    count = VALUES_PER_PART // x[0].numel() or 1
    parts = (real,) if is_recording() else real.split(count)
    x_hat = torch.cat([torch.fft.rfft2(part).permute(2, 3, 0, 1) for part in parts], 2)
    z_hat = torch.bmm(x_hat.flatten(0, 1), matrices.mT).view(x_hat.shape)
    parts = (z_hat,) if is_recording() else z_hat.split(count, 2)
    images = [torch.fft.irfft2(part.permute(2, 3, 0, 1).contiguous(), s=size) for part in parts]
    return torch.cat(images).to(dtype)


def real_dtype(dtype: torch.dtype) -> torch.dtype:
    """What the transforms run in for parameters in ``dtype``: there is none for half precision."""
    return torch.promote_types(dtype, torch.float32)
