"""The steps of MaCow, with its weight-normalised coupling."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.conv import build
from invconv.flows.actnorm import ActNorm
from invconv.layers.weight_norm import WeightNormConv2d


class GatedCoupling(nn.Module):
    """Scales and shifts the last channels by functions of the first: z₂ = s·x₂ + μ.

    (μ, h) = 3×3 → ELU → 1×1 → ELU → 3×3 of x₁, every convolution weight-normalised, and
    s = sigmoid(h + 2): the NICE layer of MaCow's released code (arXiv 1902.04208).

    Args:
        channels: C, at least ``factor``.
        width: hidden channels of the network.
        factor: C // factor channels are transformed.
    """

    def __init__(self, channels: int, width: int, factor: int = 2) -> None:
        super().__init__()
        if channels < factor:
            raise ValueError(f"a coupling needs at least {factor} channels, not {channels}")
        moving = channels // factor
        self.sizes = (channels - moving, moving)
        self.first = WeightNormConv2d(channels - moving, width, (3, 3), padding=(1, 1))
        self.second = WeightNormConv2d(width, width)
        self.last = WeightNormConv2d(width, 2 * moving, (3, 3), padding=(1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and Σ log s, (B,)."""
        x1, x2 = x.split(self.sizes, 1)
        shift, logit = self._shift_and_logit(x1)
        z = torch.cat([x1, torch.addcmul(shift, x2, torch.sigmoid(logit))], 1)
        return z, F.logsigmoid(logit).flatten(1).sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        """x, (B, C, H, W)."""
        z1, z2 = z.split(self.sizes, 1)
        shift, logit = self._shift_and_logit(z1)
        return torch.cat([z1, (z2 - shift) / torch.sigmoid(logit)], 1)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Data-dependent: normalised hidden activations, then μ = h = 0."""
        x1 = x[:, : self.sizes[0]]
        self.first.initialize(x1)
        hidden = F.elu(self.first(x1))
        self.second.initialize(hidden)
        self.last.initialize(F.elu(self.second(hidden)), std=0.0)

    def _shift_and_logit(self, x1: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.elu(self.second(F.elu(self.first(x1))))
        shift, logit = self.last(hidden).chunk(2, 1)
        return shift, logit + 2


def macow_unit(channels: int, **options: Any) -> list[nn.Module]:
    """ActNorm, masked convolutions A and B, ActNorm, C and D (arXiv 1902.04208, section 3).

    Args:
        channels: C.
        **options: of `invconv.MaCow`, without ``orders``.
    """
    parts: list[nn.Module] = []
    for orders in ("AB", "CD"):
        parts += [ActNorm(channels), build("macow", (channels, 1, 1), orders=orders, **options)]
    return parts


def macow_step(channels: int, width: int, **options: Any) -> list[nn.Module]:
    """Two units, then ActNorm, 1×1 and coupling.

    Args:
        channels: C, at least 2.
        width: hidden channels of the coupling's network.
        **options: as in `macow_unit`.
    """
    units = macow_unit(channels, **options) + macow_unit(channels, **options)
    return [*units, *mixing_step(channels, width, factor=2)]


def mixing_step(channels: int, width: int, factor: int) -> list[nn.Module]:
    """ActNorm → 1×1 → coupling of channels // factor channels; arguments as in `GatedCoupling`."""
    mixing = build("glow", (channels, 1, 1), parametrization="plain")
    return [ActNorm(channels), mixing, GatedCoupling(channels, width, factor)]
