"""MaCow-FG: the fine-grained multi-scale flow of MaCow."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.conv import Shape, build
from invconv.flows.actnorm import ActNorm
from invconv.flows.coupling import Split
from invconv.flows.dequantization import UniformDequantization
from invconv.flows.multiscale import MultiScaleFlow
from invconv.flows.squeeze import Squeeze
from invconv.layers.weight_norm import WeightNormConv2d
from invconv.validation import check_shape


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


class PlainSplit(Split):
    """Sends the last channels to the prior as they are.

    Args:
        stays: how many channels stay.
    """

    def __init__(self, stays: int) -> None:
        nn.Module.__init__(self)
        self.stays = stays

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The channels that stay, those that leave, and a log_det of zeros, (B,)."""
        return x[:, : self.stays], x[:, self.stays :], x.new_zeros(len(x))

    def inverse(self, stays: Tensor, leaves: Tensor) -> Tensor:
        """x, (B, C, H, W)."""
        return torch.cat([stays, leaves], 1)


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
    return [*units, *_glow_step(channels, width, factor=2)]


def _glow_step(channels: int, width: int, factor: int) -> list[nn.Module]:
    mixing = build("glow", (channels, 1, 1), parametrization="plain")
    return [ActNorm(channels), mixing, GatedCoupling(channels, width, factor)]


class MaCowFG(MultiScaleFlow):
    """The fine-grained multi-scale flow of Ma et al., "MaCow" (arXiv 1902.04208, section 3).

    The first level works on the image itself, each further one squeezes first. A level between
    the first and the last splits several times: ``factor`` parts of its channels, one of which
    leaves after each group of steps, behind a prior of ActNorm, 1×1 and coupling. With the
    defaults and 3×32×32 images, 37,197,547 parameters: the model of table 3 of FInC Flow (arXiv
    2301.09266). Base N(0, I) and uniform dequantisation.

    Args:
        shape: (C, H, W) of the images; H and W divisible by 2^(levels − 1).
        steps: per level; one number for the first and the last, a list for those between, fewer
            entries than ``factor``.
        widths: hidden channels of the couplings, per level.
        factor: see above.
        conv_options: options of `invconv.MaCow`, without ``orders``.
        bins: the number of values that a pixel can take.

    Raises:
        TypeError: for an option that MaCow does not have.
        ValueError: for a shape, steps or widths that do not fit.
    """

    def __init__(
        self,
        shape: Shape = (3, 32, 32),
        steps: Sequence[int | Sequence[int]] = (4, (12, 12), (12, 12), 12),
        widths: Sequence[int] = (24, 512, 512, 512),
        factor: int = 4,
        conv_options: Mapping[str, Any] | None = None,
        bins: int = 256,
    ) -> None:
        nn.Module.__init__(self)
        channels, height, width = self.shape = check_shape(shape)
        groups = [[entry] if isinstance(entry, int) else list(entry) for entry in steps]
        _check_plan(self.shape, groups, widths, factor)
        options = dict(conv_options or {})
        self.dequantization = UniformDequantization(bins)
        self.levels = nn.ModuleList()
        self.latent_shapes: list[Shape] = []
        for level, (counts, hidden) in enumerate(zip(groups, widths, strict=True)):
            parts: list[nn.Module] = []
            if level:
                channels, height, width = 4 * channels, height // 2, width // 2
                parts.append(Squeeze())
            for group, count in enumerate(counts):
                for _ in range(count):
                    parts += macow_step(channels, hidden, **options)
                if 0 < level < len(groups) - 1:
                    parts += _glow_step(channels, hidden, factor - group)
                    leaving = channels // (factor - group)
                    parts.append(PlainSplit(channels - leaving))
                    self.latent_shapes.append((leaving, height, width))
                    channels -= leaving
            self.levels.append(nn.ModuleList(parts))
        self.latent_shapes.append((channels, height, width))


def _check_plan(shape: Shape, groups: list[list[int]], widths: Sequence[int], factor: int) -> None:
    inner = groups[1:-1]
    if len(groups) < 2 or any(len(entry) != 1 for entry in (groups[0], groups[-1])):
        raise ValueError("steps must have at least two levels, the first and the last one number")
    if any(not 0 < len(counts) < factor for counts in inner):
        raise ValueError(
            f"a level between the first and the last must have 1 to {factor - 1} groups of steps, "
            f"fewer than factor = {factor}, not {[len(counts) for counts in inner]}"
        )
    if len(widths) != len(groups):
        raise ValueError(f"widths must have one entry per level, {len(groups)}, not {len(widths)}")
    if any(count < 1 for counts in groups for count in counts) or any(w < 1 for w in widths):
        raise ValueError(f"steps and widths must be at least 1, not {groups} and {list(widths)}")
    smaller = 2 ** (len(groups) - 1)
    if shape[1] % smaller or shape[2] % smaller:
        raise ValueError(
            f"{len(groups)} levels halve the image {len(groups) - 1} times: H and W must be "
            f"divisible by {smaller}, not {shape[1]}x{shape[2]}"
        )
