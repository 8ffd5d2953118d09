"""A block of MintNet: three masked convolutions whose Jacobian is triangular."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.conv import Shape
from invconv.layers.fixed_point import Ending, Rule, image_norms, iterate

SMALLEST_SCALE = 1e-12
"""What |t| is at least, as released."""


class Weights(NamedTuple):
    """What a block computes with: masked, the signs of W2 set.

    Attributes:
        w1, b1, w2, b2, w3, b3: of the three convolutions.
        t: |t|, (C, H, W).
        d1, d2, d3: the weights from each channel to itself at the center: (L, C), (L, L, C) and
            (L, C).
    """

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    w3: Tensor
    b3: Tensor
    t: Tensor
    d1: Tensor
    d2: Tensor
    d3: Tensor


class Values(NamedTuple):
    """What a block computes of x.

    Attributes:
        z: f(x), (B, C, H, W).
        diagonal: of the Jacobian, (B, C, H, W), at least `SMALLEST_SCALE`.
        slope1, slope2: of the two ELUs, (B, L·C, H, W).
    """

    z: Tensor
    diagonal: Tensor
    slope1: Tensor
    slope2: Tensor


class MintNetBlock(nn.Module):
    """z = W3∗elu(W2∗elu(W1∗x + b1) + b2) + b3 + |t|·x, with masks that make ∂z/∂x triangular.

    Each W is tiled by C×C kernels. A tile of block A takes row i of channel j into account where
    j < i, and where j = i at the center and the pixels before it in raster order; in block B all
    is mirrored. The central taps of W2 from a channel to itself get the signs of those of W1 and
    W3 before and behind it, so that no term of the diagonal is negative.

    Args:
        shape: (C, H, W).
        latent_multiplier: L; the hidden layers have L·C channels.
        kernel_size: k, odd.
        mirrored: whether it is block B.
    """

    def __init__(
        self, shape: Shape, latent_multiplier: int, kernel_size: int, mirrored: bool
    ) -> None:
        super().__init__()
        channels = shape[0]
        self.latent_multiplier, self.mirrored = latent_multiplier, mirrored
        hidden, k = latent_multiplier * channels, kernel_size
        self.weight1, self.bias1 = _initial(hidden, channels, k)
        self.weight2, self.bias2 = _initial(hidden, hidden, k)
        self.weight3, self.bias3 = _initial(channels, hidden, k)
        self.t = nn.Parameter(torch.ones(shape))

    def weights(self, dtype: torch.dtype) -> Weights:
        """What the block computes with, differentiable in its parameters."""
        tiles = self.latent_multiplier, len(self.t)
        w1 = self.weight1.to(dtype).unflatten(0, tiles)
        w2 = self.weight2.to(dtype).unflatten(1, tiles).unflatten(0, tiles)
        w3 = self.weight3.to(dtype).unflatten(1, tiles)
        k = w1.shape[-1]
        mask = tile_mask(tiles[1], k, self.mirrored, w1.device)
        w1, w3 = w1 * mask, w3 * mask[:, None]
        d1 = w1[..., k // 2, k // 2].diagonal(0, 1, 2)
        d3 = w3[..., k // 2, k // 2].diagonal(0, 0, 2)
        signs = (d3.sign()[:, None] * d1.sign()).mT[..., None, None, None]
        central = mask & tile_mask(tiles[1], k, not self.mirrored, w1.device)
        w2 = torch.where(central[:, None], signs * w2.abs(), w2) * mask[:, None]
        return Weights(
            w1.flatten(0, 1).contiguous(),
            self.bias1.to(dtype),
            w2.flatten(2, 3).flatten(0, 1).contiguous(),
            self.bias2.to(dtype),
            w3.flatten(1, 2).contiguous(),
            self.bias3.to(dtype),
            self.t.to(dtype).abs().clamp(min=SMALLEST_SCALE),
            d1,
            w2[..., k // 2, k // 2].diagonal(0, 1, 3),
            d3,
        )


def _initial(outputs: int, inputs: int, k: int) -> tuple[nn.Parameter, nn.Parameter]:
    """A weight of Xavier's normal distribution times 0.005, and PyTorch's own bias."""
    weight = torch.empty(outputs, inputs, k, k)
    bound = 1 / math.sqrt(inputs * k * k)
    nn.init.xavier_normal_(weight, 0.005)
    return nn.Parameter(weight), nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))


def tile_mask(channels: int, k: int, mirrored: bool, device: torch.device) -> Tensor:
    """Which taps of a C×C kernel block A has, or block B if ``mirrored``; bool (C, C, k, k)."""
    channel = torch.arange(channels, device=device)
    tap = torch.arange(k * k, device=device).view(k, k)
    row, column = channel[:, None, None, None], channel[:, None, None]
    mask = (column < row) | ((column == row) & (tap <= k * k // 2))
    return mask.flip(0, 1, 2, 3) if mirrored else mask


def evaluate(x: Tensor, weights: Weights) -> Values:
    """f(x) and the diagonal of its Jacobian, from one pass."""
    w1, b1, w2, b2, w3, b3, t, d1, d2, d3 = weights
    side = w1.shape[-1] // 2
    before = F.conv2d(x, w1, b1, padding=side)
    slope1 = before.clamp(max=0).exp()
    before = F.conv2d(F.elu(before), w2, b2, padding=side)
    slope2 = before.clamp(max=0).exp()
    z = F.conv2d(F.elu(before), w3, b3, padding=side) + t * x
    inner = torch.einsum("lmi,mi,bmihw->blihw", d2, d1, slope1.unflatten(1, d1.shape))
    inner = inner * slope2.unflatten(1, d1.shape)
    diagonal = torch.einsum("li,blihw->bihw", d3, inner) + t
    return Values(z, diagonal, slope1, slope2)


def find_root(z: Tensor, weights: Weights, rule: Rule) -> Ending:
    """x with f(x) = z, from x = z / t (arXiv 1907.07945, section 3.3).

    The scale of an image is the larger one of ‖z‖ and ‖z − f(0)‖.
    """

    def gap(x: Tensor) -> tuple[Tensor, Tensor]:
        values = evaluate(x, weights)
        return z - values.z, values.diagonal

    shift = evaluate(torch.zeros_like(z[:1]), weights).z
    scale = torch.maximum(image_norms(z), image_norms(z - shift))
    return iterate(gap, z / weights.t, _positive(scale, z), rule)


def solve_adjoint(
    grad: Tensor, slope1: Tensor, slope2: Tensor, diagonal: Tensor, weights: Weights, rule: Rule
) -> Ending:
    """y with Jᵀ·y = ``grad``, for the Jacobian J at which `evaluate` found the slopes."""
    side = weights.w1.shape[-1] // 2

    def gap(y: Tensor) -> tuple[Tensor, Tensor]:
        back = slope2 * F.conv_transpose2d(y, weights.w3, padding=side)
        back = slope1 * F.conv_transpose2d(back, weights.w2, padding=side)
        back = F.conv_transpose2d(back, weights.w1, padding=side) + weights.t * y
        return grad - back, diagonal

    return iterate(gap, grad / diagonal, _positive(image_norms(grad), grad), rule)


def _positive(scale: Tensor, like: Tensor) -> Tensor:
    """Zero as the smallest normal number, and infinity as NaN, which no residual is below."""
    return scale.clamp(min=torch.finfo(like.dtype).tiny).masked_fill(scale.isinf(), torch.nan)
