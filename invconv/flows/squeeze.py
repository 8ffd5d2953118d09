"""Space to depth."""

import torch.nn.functional as F
from torch import Tensor, nn

from invconv.conv import Shape


class Squeeze(nn.Module):
    """Turns every 2×2 block of pixels into channels: (B, C, H, W) to (B, 4C, H/2, W/2).

    Channel 4c + 2i + j of the result is pixel (i, j) of the blocks of channel c (RealNVP,
    arXiv 1605.08803, section 3.6).
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z and a log_det of zeros."""
        return F.pixel_unshuffle(x, 2), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """x, (B, C, H, W)."""
        return F.pixel_shuffle(z, 2)


def check_halvings(shape: Shape, levels: int, halvings: int) -> None:
    """Raises ValueError unless (C, H, W) can be halved as often as a flow's ``levels`` do."""
    _, height, width = shape
    smaller = 2**halvings
    if height % smaller or width % smaller:
        raise ValueError(
            f"{levels} levels halve the image {halvings} times: H and W must be divisible by "
            f"{smaller}, not {height}x{width}"
        )
