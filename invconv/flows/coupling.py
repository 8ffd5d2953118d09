"""Affine coupling and the split prior built from it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.bijection import Bijection
from invconv.validation import check_choice, check_count, no_pixels


class CouplingNetwork(nn.Module):
    """3×3 → ReLU → 1×1 → ReLU → zero-initialized 3×3, whose output is scaled by exp(3·log_scale).

    9·C_in·w + w, w² + w and 9·w·C_out + 2·C_out parameters (Glow, arXiv 1807.03039, section 3.3).

    Args:
        in_channels, out_channels: C_in and C_out.
        width: w, the hidden channels.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "out_channels": out_channels, "width": width}
        for name, size in sizes.items():
            check_count(size, name)
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 1)
        self.last = nn.Conv2d(width, out_channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)
        self.log_scale = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        if no_pixels(x):
            return x.new_zeros(x.shape[0], self.last.out_channels, *x.shape[2:])
        hidden = F.relu(self.second(F.relu(self.first(x))))
        return self.last(hidden) * (3 * self.log_scale).exp()[:, None, None]


SCALES = ("tanh", "sigmoid")


def affine(h: Tensor, scale: str) -> tuple[Tensor, Tensor]:
    """The log-scale s and shift t of z = x·exp(s) + t from a network's output.

    Args:
        h: (B, 2c, H, W): c channels that become s, then c that become t.
        scale: "tanh": s = 2·tanh(h/2) (FInC's released model); "sigmoid":
            z = (x + t)·sigmoid(h + 2) (the released Glow).
    """
    h, shift = h.chunk(2, 1)
    if scale == "tanh":
        return 2 * torch.tanh(h / 2), shift
    log_scale = F.logsigmoid(h + 2)
    return log_scale, shift * log_scale.exp()


def _again(z: Tensor, log_scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """x as a leaf, from z = x·exp(s) + t, and z once more with its graph."""
    x = ((z - shift) * (-log_scale).exp()).detach().requires_grad_()
    return x, x * log_scale.exp() + shift


def with_context(x: Tensor, context: Tensor | None) -> Tensor:
    """The channels of x, and behind them those of the context, if there is one."""
    return x if context is None else torch.cat([x, context], 1)


class AffineCoupling(Bijection):
    """Scales and shifts the second half of the channels by functions of the first.

    z₂ = x₂·exp(s) + t, where (s, t) = `affine` of a `CouplingNetwork` of x₁ (RealNVP,
    arXiv 1605.08803, section 3.2).

    Args:
        channels: C, even.
        width: hidden channels of the network.
        scale: how s comes from the network, "tanh" or "sigmoid".
        context_channels: of a second input that the network sees behind x₁; 0 for none.
    """

    def __init__(
        self, channels: int, width: int, scale: str = "tanh", context_channels: int = 0
    ) -> None:
        super().__init__(channels)
        if channels % 2:
            raise ValueError(f"a coupling halves its channels: C must be even, not {channels}")
        self.scale = check_choice(scale, SCALES, "scale")
        self.context_channels = context_channels
        self.network = CouplingNetwork(channels // 2 + context_channels, channels, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, and the sum of the log-scales, (B,); context: (B, context_channels, H, W)."""
        self.check_input(x)
        x1, x2 = x.chunk(2, 1)
        log_scale, shift = affine(self.network(with_context(x1, context)), self.scale)
        z = torch.cat([x1, x2 * log_scale.exp() + shift], 1)
        return z, log_scale.sum((1, 2, 3))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Leave everything as it is."""

    def _inverse(self, z: Tensor) -> Tensor:
        z1, z2 = z.chunk(2, 1)
        log_scale, shift = affine(self.network(z1), self.scale)
        return torch.cat([z1, (z2 - shift) * (-log_scale).exp()], 1)

    def reconstruct(self, z: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """See `Bijection.reconstruct`: the network runs once for x and its graph."""
        self.check_input(z, "z")
        z1, z2 = z.detach().chunk(2, 1)
        with torch.enable_grad():
            x1 = z1.requires_grad_()
            log_scale, shift = affine(self.network(x1), self.scale)
            x2, again = _again(z2, log_scale, shift)
            return (x1, x2), torch.cat([x1, again], 1), log_scale.sum((1, 2, 3))


class QuadCoupling(Bijection):
    """Scales and shifts each quarter of the channels by functions of all quarters before it.

    The quad-coupling of CInC Flow (arXiv 2107.01358, section 3.3): quarter i sees x₁ … xᵢ₋₁
    themselves, not what became of them, so that only the inverse is sequential, three steps.
    Three networks of ``width`` hidden channels, with C/4, C/2 and 3C/4 inputs.

    Args:
        channels: C, a multiple of 4.
        width: hidden channels of each network.
        scale: how s comes from a network, "tanh" or "sigmoid".
    """

    def __init__(self, channels: int, width: int, scale: str = "sigmoid") -> None:
        super().__init__(channels)
        if channels % 4:
            raise ValueError(
                f"a quad-coupling quarters its channels: C must be a multiple of 4, not {channels}"
            )
        self.scale = check_choice(scale, SCALES, "scale")
        quarter = channels // 4
        self.networks = nn.ModuleList(
            CouplingNetwork(n * quarter, 2 * quarter, width) for n in (1, 2, 3)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and the sum of the log-scales, (B,)."""
        self.check_input(x)
        quarters = x.chunk(4, 1)
        z, log_det = [quarters[0]], x.new_zeros(x.shape[0])
        for n, network in enumerate(self.networks, 1):
            log_scale, shift = affine(network(torch.cat(quarters[:n], 1)), self.scale)
            z.append(quarters[n] * log_scale.exp() + shift)
            log_det = log_det + log_scale.sum((1, 2, 3))
        return torch.cat(z, 1), log_det

    def _inverse(self, z: Tensor) -> Tensor:
        quarters = z.chunk(4, 1)
        x = quarters[0]
        for n, network in enumerate(self.networks, 1):
            log_scale, shift = affine(network(x), self.scale)
            x = torch.cat([x, (quarters[n] - shift) * (-log_scale).exp()], 1)
        return x

    def reconstruct(self, z: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """See `Bijection.reconstruct`: each network runs once for x and its graph."""
        self.check_input(z, "z")
        quarters = z.detach().chunk(4, 1)
        with torch.enable_grad():
            leaves = [quarters[0].requires_grad_()]
            made, log_det = [leaves[0]], z.new_zeros(z.shape[0])
            for n, network in enumerate(self.networks, 1):
                log_scale, shift = affine(network(torch.cat(leaves, 1)), self.scale)
                leaf, again = _again(quarters[n], log_scale, shift)
                leaves.append(leaf)
                made.append(again)
                log_det = log_det + log_scale.sum((1, 2, 3))
            return tuple(leaves), torch.cat(made, 1), log_det


class Split(AffineCoupling):
    """Sends half of the channels to the prior, after a coupling that conditions it on the rest.

    The prior of the half that leaves is N(0, I) behind one more whole coupling, as in FInC's
    released model, instead of Glow's single convolution.

    Args:
        channels: C, even.
        width: hidden channels of the coupling's network.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width)
        self.leaving = channels // 2


class PlainSplit(Bijection):
    """Sends the last channels to the prior as they are.

    Args:
        leaving: how many.
    """

    constant_log_det = True

    def __init__(self, leaving: int) -> None:
        super().__init__()
        self.leaving = check_count(leaving, "leaving", 0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A copy of x, and a log_det of zeros, (B,)."""
        self.check_input(x)
        return x.clone(), x.new_zeros(x.shape[0])

    def _inverse(self, z: Tensor) -> Tensor:
        return z.clone()
