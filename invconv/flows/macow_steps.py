"""The steps of MaCow, with its weight-normalized coupling."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.bijection import Bijection
from invconv.conv import build
from invconv.flows.actnorm import ActNorm
from invconv.flows.coupling import with_context
from invconv.layers.macow import MaCow
from invconv.layers.masked_conv import MaskedConv
from invconv.layers.weight_norm import WeightNormConv2d
from invconv.validation import check_count, no_pixels


class GatedCoupling(Bijection):
    """Scales and shifts the last channels by functions of the first: z₂ = s·x₂ + μ.

    (μ, h) = 3×3 → ELU → 1×1 → ELU → 3×3 of x₁, every convolution weight-normalized, and
    s = sigmoid(h + 2): the NICE layer of MaCow's released code (arXiv 1902.04208).

    Args:
        channels: C, at least ``factor``.
        width: hidden channels of the network.
        factor: C // factor channels are transformed.
        context_channels: of a second input that the network sees behind x₁; 0 for none.
    """

    def __init__(
        self, channels: int, width: int, factor: int = 2, context_channels: int = 0
    ) -> None:
        super().__init__(channels)
        check_count(width, "width")
        if channels < check_count(factor, "factor"):
            raise ValueError(f"a coupling needs at least {factor} channels, not {channels}")
        self.context_channels = context_channels
        moving = channels // factor
        self.sizes = (channels - moving, moving)
        seen = channels - moving + context_channels
        self.first = WeightNormConv2d(seen, width, (3, 3), padding=(1, 1))
        self.second = WeightNormConv2d(width, width)
        self.last = WeightNormConv2d(width, 2 * moving, (3, 3), padding=(1, 1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, and Σ log s, (B,); context: (B, context_channels, H, W)."""
        self.check_input(x)
        x1, x2 = x.split(self.sizes, 1)
        shift, logit = self._shift_and_logit(with_context(x1, context))
        z = torch.cat([x1, torch.addcmul(shift, x2, torch.sigmoid(logit))], 1)
        return z, F.logsigmoid(logit).sum((1, 2, 3))

    def _inverse(self, z: Tensor) -> Tensor:
        z1, z2 = z.split(self.sizes, 1)
        shift, logit = self._shift_and_logit(z1)
        return torch.cat([z1, (z2 - shift) / torch.sigmoid(logit)], 1)

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Data-dependent: normalized hidden activations, then μ = h = 0."""
        seen = with_context(x[:, : self.sizes[0]], context)
        self.first.initialize(seen)
        hidden = F.elu(self.first(seen))
        self.second.initialize(hidden)
        self.last.initialize(F.elu(self.second(hidden)), std=0.0)

    def _shift_and_logit(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        if no_pixels(seen):
            zeros = seen.new_zeros(seen.shape[0], self.sizes[1], *seen.shape[2:])
            return zeros, zeros
        hidden = F.elu(self.second(F.elu(self.first(seen))))
        shift, logit = self.last(hidden).chunk(2, 1)
        return shift, logit + 2


class ConditionalMaskedConvs(nn.Module):
    """MaCow's masked convolutions whose hidden activations see a context; forward only.

    Each adds a weight-normalized 3×3 convolution of the context before its ELU (the released code
    of arXiv 1902.04208), whatever else `invconv.MaCow` does.

    Args:
        channels: C.
        orders: as in `invconv.MaCow`.
        context_channels: of the context.
    """

    def __init__(self, channels: int, orders: str, context_channels: int) -> None:
        super().__init__()
        self.layer, self.context_channels = MaCow(channels, orders), context_channels
        hidden = self.layer.hidden_channels
        self.contexts = nn.ModuleList(
            WeightNormConv2d(context_channels, hidden, (3, 3), padding=(1, 1)) for _ in orders
        )

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """z, and Σ log s, (B,); context: (B, context_channels, H, W)."""
        log_det = x.new_zeros(x.shape[0])
        for conv, seen in self._pairs:
            x, change = self._masked(conv, seen, x, context)
            log_det = log_det + change
        return x, log_det

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor) -> None:
        """Data-dependent: normalized activations and contexts, then μ = h = 0."""
        for conv, seen in self._pairs:
            before = conv.pad(x)
            conv.masked.initialize(before)
            seen.initialize(context)
            conv.output.initialize(F.elu(conv.masked(before) + seen(context)), std=0.0)
            x = self._masked(conv, seen, x, context)[0]

    def _masked(
        self, conv: MaskedConv, seen: WeightNormConv2d, x: Tensor, context: Tensor
    ) -> tuple[Tensor, Tensor]:
        hidden = F.elu(conv.masked(conv.pad(x)) + seen(context))
        shift, logit = conv.output(hidden).chunk(2, 1)
        z = torch.addcmul(shift, x, torch.sigmoid(logit + 2))
        return z, F.logsigmoid(logit + 2).sum((1, 2, 3))

    @property
    def _pairs(self) -> list[tuple[MaskedConv, WeightNormConv2d]]:
        return list(zip(self.layer.convs, self.contexts, strict=True))  # type: ignore[arg-type]


def macow_unit(channels: int, **options: object) -> list[nn.Module]:
    """ActNorm, masked convolutions A and B, ActNorm, C and D (arXiv 1902.04208, section 3).

    Args:
        channels: C.
        **options: of `invconv.MaCow`, without ``orders``.
    """
    parts: list[nn.Module] = []
    for orders in ("AB", "CD"):
        parts += [ActNorm(channels), build("macow", (channels, 1, 1), orders=orders, **options)]
    return parts


def macow_step(channels: int, width: int, **options: object) -> list[nn.Module]:
    """Two units, then ActNorm, 1×1 and coupling.

    Args:
        channels: C, at least 2.
        width: hidden channels of the coupling's network.
        **options: as in `macow_unit`.
    """
    units = macow_unit(channels, **options) + macow_unit(channels, **options)
    return [*units, *mixing_step(channels, width)]


def conditional_macow_step(channels: int, width: int, context_channels: int) -> list[nn.Module]:
    """`macow_step` whose masked convolutions and coupling see a context of context_channels."""
    parts: list[nn.Module] = []
    for orders in ("AB", "CD", "AB", "CD"):
        convs = ConditionalMaskedConvs(channels, orders, context_channels)
        parts += [ActNorm(channels), convs]
    return [*parts, *mixing_step(channels, width, context_channels=context_channels)]


def mixing_step(
    channels: int, width: int, factor: int = 2, context_channels: int = 0
) -> list[nn.Module]:
    """ActNorm → 1×1 → coupling of channels // factor channels; arguments as in `GatedCoupling`."""
    mixing = build("glow", (channels, 1, 1), parametrization="plain")
    coupling = GatedCoupling(channels, width, factor, context_channels)
    return [ActNorm(channels), mixing, coupling]
