"""A layer of your own in ten lines, checked against the contract."""

import torch
from torch import nn

from invconv import InvertibleConv
from invconv.testing import check_invertible_conv


class Householder(InvertibleConv):
    """Reflect the channels of every pixel (Tomczak and Welling, arXiv 1611.09630, section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.v = nn.Parameter(torch.randn(channels))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return z = x − 2 v vᵀx / vᵀv and log|det| = 0."""
        self.check_input(x)
        along = torch.einsum("c,bchw->bhw", self.v, x) / self.v.square().sum()
        return x - 2 * self.v[:, None, None] * along[:, None], x.new_zeros(x.shape[0])

    def _inverse(self, z: torch.Tensor) -> torch.Tensor:
        """Return x: a reflection is its own inverse."""
        return self(z)[0]


if __name__ == "__main__":
    # 46 checks: shapes, log_det against a dense Jacobian, round trips, gradients, caches, copies …
    check_invertible_conv(
        lambda shape: Householder(shape[0]),
        shapes=[(4, 3, 2), (3, 4, 4)],
        compiler="aot_eager",  # traces as inductor does, and needs no C++ compiler
    )
    print("Householder keeps the contract.")
