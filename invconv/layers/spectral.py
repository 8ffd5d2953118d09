"""Spectral norms of convolutions with zero padding: an upper bound, and the power iteration."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

OVERSAMPLING = 8
"""Frequencies of the grid per degree of the kernel's spectrum."""
GRAM_STEPS = 5
"""The Frobenius norm of M^(2^5) bounds a C×C matrix within a factor of C^(1/64)."""


def spectral_bound(kernel: Tensor, degree: int) -> Tensor:
    """An upper bound of the spectral norm of x ↦ K*x, a float64 scalar with a gradient.

    It holds for images of every size, with zeros around them. The norm is at most the supremum
    of ‖K̂(u, v)‖ over all real frequencies. K̂ is a trigonometric polynomial of degree d in each
    of them, so that this supremum is at most cos(π·d/N)⁻² times the largest value on a grid of
    N×N frequencies (Ehlich and Zeller, 1964); here N = 8·d, and the factor is 1.17. The norm of
    each C×C matrix is bounded by Gram iteration (Delattre et al., arXiv 2305.16173).

    Args:
        kernel: (C, C, k, k), k odd.
        degree: d = (k − 1)/2, which in a trace the shape of the kernel does not tell.

    >>> import torch
    >>> from invconv.layers.spectral import spectral_bound
    >>> blur = torch.ones(1, 1, 3, 3) / 9
    >>> round(spectral_bound(blur, 1).item(), 3)
    1.172
    """
    k, size = 2 * degree + 1, max(1, OVERSAMPLING * degree)
    turns = torch.arange(size, dtype=torch.float64, device=kernel.device)
    angle = 2 * math.pi / size * torch.outer(turns, turns.new_ones(k).cumsum(0))
    # Half of the columns: the other frequencies have conjugate matrices, and the same norms.
    angle = (angle[:, None, :, None] + angle[: size // 2 + 1, None, :]).reshape(-1, k * k)
    taps = kernel.double().flatten(2)
    parts = [(taps @ wave.T).permute(2, 0, 1) for wave in (angle.cos(), angle.sin())]
    matrices = torch.cat(parts, 1)  # real above imaginary: traces and inductor fail on complex
    tiny = torch.finfo(torch.float64).tiny
    log_bound = torch.zeros((), dtype=torch.float64, device=kernel.device)
    for step in range(GRAM_STEPS + 1):
        norm = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True).clamp(min=tiny)
        log_bound = log_bound + norm.flatten().log() / 2**step
        if step < GRAM_STEPS:
            matrices = matrices / norm
            real, imaginary = matrices.chunk(2, 1)
            cross = torch.bmm(real.mT, imaginary)
            matrices = torch.cat([torch.bmm(matrices.mT, matrices), cross - cross.mT], 1)
    margin = math.cos(math.pi * degree / size) ** -2
    return margin * log_bound.amax().exp()


def power_step(kernel: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """One power iteration: v ∝ K*ᵀu, then u ∝ K*v, both images (1, C, H, W) of norm 1."""
    padding = kernel.shape[2] // 2
    v = _normalized(F.conv_transpose2d(u, kernel, padding=padding))
    return _normalized(F.conv2d(v, kernel, padding=padding)), v


def norm_estimate(kernel: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """⟨u, K*v⟩, an estimate of the spectral norm from below for images of that size."""
    return (u * F.conv2d(v, kernel, padding=kernel.shape[2] // 2)).sum()


def random_direction(channels: int, height: int, width: int) -> Tensor:
    """An image (1, C, H, W) of norm 1."""
    return _normalized(torch.randn(1, channels, height, width))


def _normalized(image: Tensor) -> Tensor:
    return F.normalize(image.flatten(), dim=0).view(image.shape)
