"""Activation normalisation."""

import torch
from torch import Tensor, nn


class ActNorm(nn.Module):
    """A scale and shift per channel: z = (x + bias)·exp(log_scale) (Glow, arXiv 1807.03039, 3.1).

    The identity until `initialize` has seen a batch; `forward` changes no state.

    Args:
        channels: C.
    """

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialized", torch.tensor(False))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Sets scale and shift so that each channel of ``x`` gets mean 0 and variance 1.

        Does nothing if it was called before; the flag is part of the state_dict.
        """
        if self.initialized:
            return
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        self.bias.copy_(-mean)
        self.log_scale.copy_(-0.5 * torch.log(variance + 1e-6))
        self.initialized.fill_(True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and H·W·Σ log_scale, (B,)."""
        z = (x + self.bias[:, None, None]) * self.log_scale.exp()[:, None, None]
        log_det = x.shape[2] * x.shape[3] * self.log_scale.sum()
        return z, log_det.repeat(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """x, (B, C, H, W)."""
        return z * (-self.log_scale).exp()[:, None, None] - self.bias[:, None, None]
