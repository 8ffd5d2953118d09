"""Woodbury transformations: low-rank updates of the identity along channels and pixels."""

import math
from abc import abstractmethod
from collections.abc import Callable

from torch import Tensor

from invconv.conv import About, Shape, Variant, for_each_image, register
from invconv.layers.low_rank import (
    LowRankUpdate,
    Terms,
    multiply_left,
    multiply_right,
    transpose,
)
from invconv.layers.sized import SizedConv

PAPER = 'Lu and Huang, "Woodbury Transformations for Deep Generative Flows", arXiv 2002.12229'
RELEASED = "github.com/yolu1055/WoodburyTransformations@24c4000f31"


class _LowRankConv(SizedConv):
    """The identity plus a low-rank update along each of several axes, which all commute."""

    solve_direction = "inverse"
    algorithm = "capacitance"

    @abstractmethod
    def _multiply(self, x: Tensor, terms: Callable[[LowRankUpdate], Terms]) -> Tensor:
        """x, (B, C, H, W), times the matrix that ``terms`` gives for each update."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and the sum over the axes of C·H·W / size · log|det(I + V·U)|."""
        self.check_input(x)
        z = self._multiply(x, lambda update: update.terms(inverse=False))
        numel = math.prod(self.shape)
        log_det = sum(numel // len(part.u) * part.log_abs_det() for part in self._updates())
        return z, for_each_image(log_det, x)

    def _inverse(self, z: Tensor) -> Tensor:
        """x, by the same products as the forward pass with factors that are kept in eval mode."""
        return self._multiply(z, lambda part: part.terms(inverse=True))

    def published_inverse(self, z: Tensor) -> Tensor:
        """x as released: the d×d matrices of Woodbury's identity are inverted in every call."""
        return self._multiply(z, LowRankUpdate.published_terms)

    def _updates(self) -> list[LowRankUpdate]:
        return [part for part in self.children() if isinstance(part, LowRankUpdate)]


@register("woodbury")
class Woodbury(_LowRankConv):
    """The Woodbury transformation of Lu and Huang (arXiv 2002.12229, section 3).

    z = (I + U_c·V_c)·X·(I + U_s·V_s) for X of shape (C, H·W): every channel sees all others, and
    every pixel sees all others. log_det and inverse follow from determinants and inverses of
    d×d matrices.

    Args:
        shape: (C, H, W) of the images.
        channel_rank: d_c.
        spatial_rank: d_s; the paper and the released code use 16 for both.
        inverse_method: "auto", or "published" for the paper's algorithm, which inverts the d×d
            matrices in each call.

    Raises:
        ValueError: for a shape that is not (C, H, W), ranks below 1 or an unknown method.

    >>> import torch
    >>> from invconv import Woodbury
    >>> layer = Woodbury((3, 8, 8), channel_rank=2)
    >>> z, log_det = layer(torch.randn(2, 3, 8, 8))
    >>> layer.inverse(z).shape, log_det.shape
    (torch.Size([2, 3, 8, 8]), torch.Size([2]))
    """

    sees = "all"
    assumes = "one image size"
    about = About(
        title="Woodbury",
        paper=PAPER,
        year=2020,
        color="#882255",
        marker="P",
        variants={
            "woodbury": Variant(),
            "woodbury_paper": Variant(step="paper", swept=False),
        },
        released=RELEASED,
    )

    def __init__(
        self,
        shape: Shape,
        channel_rank: int = 16,
        spatial_rank: int = 16,
        inverse_method: str = "auto",
    ) -> None:
        super().__init__(shape, inverse_method)
        channels, height, width = self.shape
        self.channel = LowRankUpdate(channels, channel_rank)
        self.spatial = LowRankUpdate(height * width, spatial_rank)

    def _multiply(self, x: Tensor, terms: Callable[[LowRankUpdate], Terms]) -> Tensor:
        y = multiply_right(x.flatten(2), terms(self.spatial))
        return multiply_left(terms(self.channel), y).view(x.shape)


@register("me_woodbury")
class MEWoodbury(_LowRankConv):
    """The memory-efficient Woodbury transformation of Lu and Huang (arXiv 2002.12229, section 3).

    The spatial update of `Woodbury`, 2·d·H·W numbers, is replaced by one along the width and one
    along the height, 2·d·(H + W) numbers.

    Args:
        shape: (C, H, W) of the images.
        channel_rank, height_rank, width_rank: d_c, d_h and d_w, 16 as released.
        inverse_method: "auto" or "published", as in `Woodbury`.

    Raises:
        ValueError: for a shape that is not (C, H, W), ranks below 1 or an unknown method.

    >>> import torch
    >>> from invconv import MEWoodbury, Woodbury
    >>> def numbers(layer):
    ...     return sum(parameter.numel() for parameter in layer.parameters())
    >>> numbers(Woodbury((3, 32, 32))), numbers(MEWoodbury((3, 32, 32)))
    (32864, 2144)
    """

    sees = "all"
    assumes = "one image size"
    about = About(
        title="ME-Woodbury",
        paper=PAPER,
        year=2020,
        color="#DDCC77",
        marker="X",
        variants={
            "me_woodbury": Variant(),
            "me_woodbury_paper": Variant(step="paper", swept=False),
        },
        released=RELEASED,
    )

    def __init__(
        self,
        shape: Shape,
        channel_rank: int = 16,
        height_rank: int = 16,
        width_rank: int = 16,
        inverse_method: str = "auto",
    ) -> None:
        super().__init__(shape, inverse_method)
        channels, height, width = self.shape
        self.channel = LowRankUpdate(channels, channel_rank)
        self.height = LowRankUpdate(height, height_rank)
        self.width = LowRankUpdate(width, width_rank)

    def _multiply(self, x: Tensor, terms: Callable[[LowRankUpdate], Terms]) -> Tensor:
        _, channels, height, width = x.shape
        y = multiply_right(x, terms(self.width)).reshape(-1, height, width)
        y = multiply_left(transpose(terms(self.height)), y).view(-1, channels, height * width)
        return multiply_left(terms(self.channel), y).view(x.shape)
