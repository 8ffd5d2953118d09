"""Affine coupling and the split prior built from it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CouplingNetwork(nn.Module):
    """3×3 → ReLU → 1×1 → ReLU → zero-initialised 3×3, whose output is scaled by exp(3·log_scale).

    9·C_in·w + w, w² + w and 9·w·C_out + 2·C_out parameters (Glow, arXiv 1807.03039, section 3.3).

    Args:
        in_channels, out_channels: C_in and C_out.
        width: w, the hidden channels.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 1)
        self.last = nn.Conv2d(width, out_channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)
        self.log_scale = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        hidden = F.relu(self.second(F.relu(self.first(x))))
        return self.last(hidden) * (3 * self.log_scale).exp()[:, None, None]


class AffineCoupling(nn.Module):
    """Scales and shifts the second half of the channels by functions of the first.

    z₂ = x₂·exp(s) + t with log-scale s = 2·tanh(h/2), where (h, t) is the network's output for
    x₁ (FInC's released model; RealNVP, arXiv 1605.08803, section 3.2).

    Args:
        channels: C, even.
        width: hidden channels of the network.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f"a coupling halves its channels: C must be even, not {channels}")
        self.network = CouplingNetwork(channels // 2, channels, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and the sum of the log-scales, (B,)."""
        x1, x2 = x.chunk(2, 1)
        log_scale, shift = self._scale_and_shift(x1)
        z = torch.cat([x1, x2 * log_scale.exp() + shift], 1)
        return z, log_scale.flatten(1).sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        """x, (B, C, H, W)."""
        z1, z2 = z.chunk(2, 1)
        log_scale, shift = self._scale_and_shift(z1)
        return torch.cat([z1, (z2 - shift) * (-log_scale).exp()], 1)

    def _scale_and_shift(self, x1: Tensor) -> tuple[Tensor, Tensor]:
        h, shift = self.network(x1).chunk(2, 1)
        return 2 * torch.tanh(h / 2), shift


class Split(nn.Module):
    """Sends half of the channels to the prior, after a coupling that conditions it on the rest.

    The prior of the half that leaves is N(0, I) behind one more whole coupling, as in FInC's
    released model, instead of Glow's single convolution.

    Args:
        channels: C, even.
        width: hidden channels of the coupling's network.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.coupling = AffineCoupling(channels, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The half that stays, the half that leaves, and log_det, (B,)."""
        z, log_det = self.coupling(x)
        stays, leaves = z.chunk(2, 1)
        return stays, leaves, log_det

    def inverse(self, stays: Tensor, leaves: Tensor) -> Tensor:
        """x, (B, C, H, W)."""
        return self.coupling.inverse(torch.cat([stays, leaves], 1))
