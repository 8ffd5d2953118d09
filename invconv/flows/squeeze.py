"""Space to depth."""

import torch.nn.functional as F
from torch import Tensor

from invconv.bijection import Bijection
from invconv.conv import Shape
from invconv.modes import is_tracing
from invconv.validation import check_choice


def squeeze(x: Tensor) -> Tensor:
    """Every 2×2 block of pixels as channels: (B, C, H, W) to (B, 4C, H/2, W/2).

    `F.pixel_unshuffle` returns a tensor without values as it is, of the old shape.
    """
    if not is_tracing() and (x.shape[2] % 2 or x.shape[3] % 2):
        raise ValueError(f"H and W must be even to be halved, not {x.shape[2]}x{x.shape[3]}")
    blocks = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return blocks.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


class Squeeze(Bijection):
    """Turns every 2×2 block of pixels into channels: (B, C, H, W) to (B, 4C, H/2, W/2).

    Channel 4c + 2i + j of the result is pixel (i, j) of the blocks of channel c (RealNVP,
    arXiv 1605.08803, section 3.6).

    Args:
        order: "channel" for that; "pixel" for C·(2i + j) + c, as TensorFlow's space_to_depth.

    Raises:
        ValueError: for another order.
    """

    constant_log_det = True

    def __init__(self, order: str = "channel") -> None:
        super().__init__()
        self.order = check_choice(order, ("channel", "pixel"), "order")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, (B, 4C, H/2, W/2), and a log_det of zeros."""
        self.check_input(x)
        z = squeeze(x)
        if self.order == "pixel":
            z = z.unflatten(1, (x.shape[1], 4)).transpose(1, 2).flatten(1, 2)
        return z, x.new_zeros(x.shape[0])

    def _inverse(self, z: Tensor) -> Tensor:
        if self.order == "pixel":
            z = z.unflatten(1, (4, z.shape[1] // 4)).transpose(1, 2).flatten(1, 2)
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
