"""Flows that see an image: noise in, real numbers out, one direction only."""

import math
from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.bijection import Bijection
from invconv.conv import Shape, build
from invconv.flows.actnorm import ActNorm
from invconv.flows.coupling import AffineCoupling
from invconv.flows.squeeze import squeeze
from invconv.validation import check_count

NORMAL_TO_LOGISTIC = math.log(1.702)
"""σ(1.702·v) is within 0.0095 of the normal distribution function everywhere."""


class ConditionalCouplings(nn.Module):
    """Squeeze, K times ActNorm → 1×1 → coupling that sees the image, ActNorm, unsqueeze.

    The couplings share a context, two 3×3 convolutions with ReLU of the squeezed image: a small
    relative of the dequantization flow of Flow++ (arXiv 1902.00275, section 3.1). Starts with a
    result whose σ is close to uniform, 0.010 nats from it per dimension, whatever the image.

    Args:
        shape: (C, H, W) of the images; H and W even.
        steps: K.
        width: hidden channels of the context and of the couplings' networks.

    Raises:
        ValueError: for a shape or sizes that do not fit.
    """

    def __init__(self, shape: Shape, steps: int = 4, width: int = 32) -> None:
        super().__init__()
        channels, height, width_pixels = shape
        if height % 2 or width_pixels % 2:
            raise ValueError(f"H and W must be even, not {height}x{width_pixels}")
        for name, size in {"steps": steps, "width": width}.items():
            check_count(size, name)
        inside = (4 * channels, height // 2, width_pixels // 2)
        self.context = nn.Sequential(
            nn.Conv2d(4 * channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
        )
        self.parts = nn.ModuleList()
        for _ in range(steps):
            mixing = build("glow", inside)
            coupling = AffineCoupling(4 * channels, width, context_channels=width)
            self.parts.extend([ActNorm(4 * channels), mixing, coupling])
        last = ActNorm(4 * channels)
        nn.init.constant_(last.log_scale, NORMAL_TO_LOGISTIC)
        last.initialized.fill_(True)
        self.parts.append(last)

    def forward(self, epsilon: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """g(ε, x), (B, C, H, W), and log|det dg/dε|, (B,).

        Args:
            epsilon: ε, (B, C, H, W).
            image: x, (B, C, H, W), scaled to [−1, 1).
        """
        context = self.context(squeeze(image))
        v, log_det = run(self.parts, squeeze(epsilon), context)
        return F.pixel_shuffle(v, 2), log_det

    @torch.no_grad()
    def initialize(self, epsilon: Tensor, image: Tensor) -> None:
        """Data-dependent initialization of the ActNorms; arguments as in `forward`."""
        context = self.context(squeeze(image))
        run(self.parts, squeeze(epsilon), context, initialize=True)


def run(
    parts: Iterable[nn.Module], v: Tensor, context: Tensor, initialize: bool = False
) -> tuple[Tensor, Tensor]:
    """One part after the other.

    Args:
        parts: with ``forward(v)``, or ``forward(v, context)`` where they have context_channels;
            the context is squeezed where v is.
        v: (B, C, H, W).
        context: (B, S, H, W).
        initialize: whether to initialize each part that can be on what reaches it.

    Returns:
        The last part's output, and log|det|, (B,).
    """
    log_det = v.new_zeros(len(v))
    for part in cast(Iterable[Bijection], parts):
        seen = (v, context) if part.context_channels else (v,)
        if initialize:
            part.initialize(*seen)
        v, change = part(*seen)
        log_det = log_det + change
        if v.shape[2:] != context.shape[2:]:
            context = squeeze(context)
    return v, log_det
