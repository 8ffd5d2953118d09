"""Butterfly layers: factors of 2×2 blocks that mix numbers at distances of D/2, D/4, …"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from invconv.cache import EvalCache
from invconv.conv import About, Shape, for_each_image, register
from invconv.layers.sized import SizedConv
from invconv.validation import check_choice, check_count


@register("butterfly")
class Butterfly(SizedConv):
    """The butterfly layer of Meng et al., "ButterflyFlow" (arXiv 2209.13774).

    An image is D = C·H·W numbers in the order of memory. The factor of level l splits them into
    2^l groups, and each group into two halves of m = D / 2^(l+1) numbers; a 2×2 block mixes the
    i-th number of one half with the i-th of the other. The layer applies levels 0, 1, …: while
    2^(l+1) divides C, channels c and c + C / 2^(l+1) mix at the same pixel, then rows mix, then
    columns. log_det is the sum of log|det| of all blocks, and the inverse applies theirs in
    reverse order.

    A block is a rotation by α times the triangular matrix ((e^a, 0), (c, ±e^b)) with a fixed sign:
    every invertible block has one such form, and its log|det| is a + b. The released layer trains
    the four entries, whose determinant may become 0.

    Args:
        shape: (C, H, W) of the images; D must be even.
        levels: how many factors there are; by default as many as 2 divides D, the whole
            butterfly. The released models of CIFAR-10 have 1.
        share: whether all blocks of a group are the same.
        bidirectional: whether the same levels follow in reverse order, with blocks of their own.
        init: "identity", or "rotation" by random angles.

    Raises:
        ValueError: for a shape that is not (C, H, W) or has an odd D, more levels than D has, or
            an unknown ``init``.

    >>> import torch
    >>> from invconv import Butterfly
    >>> layer = Butterfly((3, 4, 8))
    >>> layer.dependent_steps(4, 8), sum(p.numel() for p in layer.parameters())
    (5, 960)
    >>> z, log_det = layer(torch.randn(2, 3, 4, 8))
    >>> layer.inverse(z).shape, log_det.shape
    (torch.Size([2, 3, 4, 8]), torch.Size([2]))
    """

    algorithm = "blocks"
    sees = "all"
    assumes = "one image size, C·H·W even"
    about = About(
        title="Butterfly",
        paper=(
            'Meng, Zhou, Choi, Dao and Ermon, "ButterflyFlow: Building Invertible Layers with '
            'Butterfly Matrices", arXiv 2209.13774'
        ),
        year=2022,
        color="#333300",
        marker="8",
        released="github.com/alexzhou907/butterflyflow@da798ab03a",
    )

    def __init__(
        self,
        shape: Shape,
        levels: int | None = None,
        share: bool = False,
        bidirectional: bool = False,
        init: str = "identity",
    ) -> None:
        super().__init__(shape)
        numbers = math.prod(self.shape)
        most = (numbers & -numbers).bit_length() - 1
        if not most:
            raise ValueError(
                f"a butterfly layer pairs the C·H·W numbers of an image, which must be even, not "
                f"{numbers} as of {self.shape}: take an even C, H or W"
            )
        self.levels = most if levels is None else check_count(levels, "levels")
        if self.levels > most:
            raise ValueError(
                f"levels must be at most {most}, as often as 2 divides the {numbers} numbers of "
                f"an image of {self.shape}, not {levels}"
            )
        self.share, self.bidirectional = bool(share), bool(bidirectional)
        self.init = check_choice(init, ("identity", "rotation"), "init")
        order = [*range(self.levels)]
        order += reversed(order) if bidirectional else ()
        self.factors = nn.ModuleList(Factor(numbers, level, share, init) for level in order)

    def dependent_steps(self, height: int, width: int) -> int:
        """The number of factors, each of which needs all of the one before."""
        return len(self.factors)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and the sum of log|det| of all blocks."""
        self.check_input(x)
        z, log_det = x, torch.zeros((), dtype=torch.float64, device=x.device)
        for factor in self._chain():
            z = factor(z)
            log_det = log_det + factor.log_abs_det()
        return z.view(x.shape), for_each_image(log_det, x)

    def _inverse(self, z: Tensor) -> Tensor:
        """x, by the inverse blocks from the last factor to the first."""
        x = z
        for factor in reversed(self._chain()):
            x = factor(x, inverse=True)
        return x.view(z.shape)

    def _chain(self) -> list["Factor"]:
        return cast(list[Factor], list(self.factors))


class Factor(nn.Module):
    """One level of a butterfly: a 2×2 block for each pair of numbers.

    Args:
        numbers: D.
        level: l, with 2^l groups of m = D / 2^(l+1) pairs each.
        share: whether a group has one block, (2^l, 1) in place of (2^l, m).
        init: "identity" or "rotation".

    Attributes:
        angle: α of every block, (2^l, m).
        log_scale: a and b of every block, (2, 2^l, m).
        shear: c of every block, (2^l, m).
        sign: of the determinant of every block, ±1, (2^l, m), fixed.
    """

    sign: Tensor

    def __init__(self, numbers: int, level: int, share: bool, init: str) -> None:
        super().__init__()
        self.groups, self.pairs = 2**level, numbers // 2 ** (level + 1)
        size = self.groups, 1 if share else self.pairs
        turn = 2 * math.pi if init == "rotation" else 0.0
        self.angle = nn.Parameter(turn * torch.rand(size))
        self.log_scale = nn.Parameter(torch.zeros(2, *size))
        self.shear = nn.Parameter(torch.zeros(size))
        self.register_buffer("sign", torch.ones(size))
        self._cache = EvalCache()

    def forward(self, x: Tensor, inverse: bool = False) -> Tensor:
        """``x``, D numbers for each of B images, times the blocks or their inverses.

        Returns (B, 2^l, 2, m).
        """
        first, second = x.reshape(x.shape[0], self.groups, 2, self.pairs).unbind(2)
        blocks = self._cache.get(
            "inverse" if inverse else "forward",
            (self.angle, self.log_scale, self.shear, self.sign),
            self.training,
            self.inverse_blocks if inverse else self.blocks,
        )
        rows = [torch.addcmul(left * first, right, second) for left, right in blocks]
        return torch.stack(rows, 2)

    def log_abs_det(self) -> Tensor:
        """The sum of log|det| of all blocks, a float64 scalar."""
        count = self.groups * self.pairs // self.sign.numel()
        return count * self.log_scale.sum(dtype=torch.float64)

    def blocks(self) -> Tensor:
        """Every block, (2, 2, 2^l, m): output, input, group, pair; m is 1 if they are shared."""
        cos, sin, (first, second), shear = self._parts(1)
        top = torch.stack([cos * first - sin * shear, -sin * second])
        bottom = torch.stack([sin * first + cos * shear, cos * second])
        return torch.stack([top, bottom]).to(self.angle.dtype)

    def inverse_blocks(self) -> Tensor:
        """The inverse of every block, in the same form."""
        cos, sin, (first, second), shear = self._parts(-1)
        shear = -shear * first * second
        top = torch.stack([first * cos, first * sin])
        bottom = torch.stack([shear * cos - second * sin, shear * sin + second * cos])
        return torch.stack([top, bottom]).to(self.angle.dtype)

    def _parts(self, power: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """cos α, sin α, the diagonal to ``power``, and c; in float32 at least."""
        dtype = torch.promote_types(self.angle.dtype, torch.float32)
        angle, log_scale, shear = (
            part.to(dtype) for part in (self.angle, self.log_scale, self.shear)
        )
        scale = (power * log_scale).exp()
        return angle.cos(), angle.sin(), torch.stack([scale[0], self.sign * scale[1]]), shear
