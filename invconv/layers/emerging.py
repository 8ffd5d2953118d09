"""Emerging convolutions: two autoregressive convolutions in opposite orders."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from invconv.conv import About, Variant, register
from invconv.layers.glow import Glow1x1
from invconv.layers.solved import SolvedConv
from invconv.layers.triangular import TriangularConv
from invconv.validation import check_choice, check_count, check_kernel_size

MASKS = ("square", "raster")


@register("emerging")
class Emerging(SolvedConv):
    """The layer of Hoogeboom, van den Berg and Welling, "Emerging Convolutions for Generative
    Normalizing Flows" (arXiv 1901.11137, section 3.1).

    Two full C×C autoregressive convolutions: the first runs from the bottom right corner, its
    center tap lower triangular in channels, the second from the top left, upper triangular.
    Both have a learned diagonal, here with a fixed sign; log_det = H·W·Σ log|diagonal| of both.
    Initialized as released: N(0, 0.02) plus the identity at the center.

    Args:
        channels: C.
        kernel_size: k, odd: the size of the receptive field.
        mask: "square", the quadrant of ((k+1)/2)² taps that each released layer sees, or
            "raster", the half plane of all k-wide rows before the pixel.
        pointwise: whether a Glow 1×1 convolution comes first, as released.
        bias: whether to add one free number per channel at the end, as released.
        dilation: d: the distance of neighboring taps, in pixels.
        inverse_method: how the two systems are solved, a ``method`` of
            `solve_triangular_conv2d`, or "published" for the paper's loop over pixels and
            channels in float64, "raster_serial".
        max_growth: g > 1 keeps the ∞-norm of the inverse of each of the two at most
            g / min|diagonal|, see `TriangularConv`.
        std, init: of the initial taps, as in `TriangularConv`; with "data" the second convolution
            is fitted to what the first makes of them.

    Attributes:
        first, second: the two convolutions, each a `TriangularConv` with a weight of
            (C, C, (k+1)/2, (k+1)/2) for "square" and (C, C, (k+1)/2, k) for "raster".

    Raises:
        ValueError: if k is even, max_growth not above 1, or a choice unknown.

    >>> import torch
    >>> from invconv import Emerging
    >>> layer = Emerging(3, kernel_size=5, mask="raster")
    >>> layer.second.weight.shape  # two rows above, and this one up to its pixel
    torch.Size([3, 3, 3, 5])
    >>> z, log_det = layer(torch.randn(2, 3, 8, 8))
    >>> layer.inverse(z).shape, log_det.shape
    (torch.Size([2, 3, 8, 8]), torch.Size([2]))
    """

    sees = "two quarter planes"
    assumes = "odd k"
    about = About(
        title="Emerging",
        paper=(
            'Hoogeboom, van den Berg and Welling, "Emerging Convolutions for Generative '
            'Normalizing Flows", arXiv 1901.11137'
        ),
        year=2019,
        color="#332288",
        marker="D",
        variants={
            "emerging": Variant({"kernel_size": 3}),
            "emerging_raster": Variant(
                {"kernel_size": 3, "mask": "raster"},
                title="Emerging (raster mask)",
                color="#88CCEE",
                marker="d",
            ),
            "emerging_paper": Variant({"kernel_size": 3}, step="paper", swept=False),
        },
        released="github.com/ehoogeboom/emerging@fabb09bcaa",
    )

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        mask: Literal["square", "raster"] = "square",
        pointwise: bool = False,
        bias: bool = False,
        dilation: int = 1,
        inverse_method: str = "auto",
        max_growth: float | None = None,
        std: float | Literal["fan_in"] = 0.02,
        init: Literal["random", "data"] = "random",
    ) -> None:
        super().__init__(channels, inverse_method)
        self.kernel_size = k = check_kernel_size(kernel_size)
        if k % 2 == 0:
            raise ValueError(f"Emerging's kernel has a center: kernel_size must be odd, not {k}")
        self.mask = check_choice(mask, MASKS, "mask")
        if mask == "raster":
            self.sees = "two half planes"
        self.dilation = check_count(dilation, "dilation")
        self.pointwise, self.bias = pointwise, bias
        self.max_growth = max_growth
        rows = (k + 1) // 2
        columns = k if mask == "raster" else rows
        self.mixing = Glow1x1(channels, "plain") if pointwise else None
        self.first, self.second = (
            TriangularConv(
                channels,
                (rows, columns),
                corners=corner,
                anchor=(rows - 1, rows - 1),
                upper=upper,
                diagonal="learned",
                std=std,
                bias=bias and upper,
                max_growth=max_growth,
                init=init,
            )
            for corner, upper in (("br", False), ("tl", True))
        )

    @classmethod
    def kernel_options(cls, k: int) -> dict[str, Any] | None:
        """Return the options of a k×k receptive field; k is odd."""
        return super().kernel_options(k) if k % 2 else None

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """With ``init="data"``, fit both convolutions to ``x``, (B, C, H, W)."""
        self.check_input(x)
        if self.mixing is not None:
            x = self.mixing(x)[0]
        for conv in (self.first, self.second):
            self._by_phase(partial(_initialized, conv), x)
            x = self._by_phase(conv.convolve, x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and H·W·Σ log|diagonal|, with that of the 1×1 convolution where there is one."""
        self.check_input(x)
        log_det = self.first.log_det(x) + self.second.log_det(x)
        if self.mixing is not None:
            x, change = self.mixing(x)
            log_det = log_det + change
        x = self._by_phase(self.first.convolve, x)
        x = self._by_phase(partial(self.second.convolve, overwrite=True), x)
        return x, log_det

    def solve(self, z: Tensor, method: str) -> Tensor:
        """x, by two solves; ``method`` as in `TriangularConv.solve`."""
        x = self._by_phase(partial(self.second.solve, method=method), z)
        x = self._by_phase(partial(self.first.solve, method=method, overwrite=True), x)
        return x if self.mixing is None else self.mixing.inverse(x)

    def _by_phase(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """A dilation of d is d² undilated problems on every d-th pixel.

        They are one batch where they are equally large.
        """
        d, (height, width) = self.dilation, x.shape[2:]
        if d == 1 or not x.numel():
            return function(x)
        if height % d == 0 and width % d == 0:
            images = x.unflatten(3, (-1, d)).unflatten(2, (-1, d)).permute(0, 3, 5, 1, 2, 4)
            images = function(images.flatten(0, 2)).unflatten(0, (-1, d, d))
            return images.permute(0, 3, 4, 1, 5, 2).reshape(x.shape)
        phases = [
            (..., slice(row, None, d), slice(column, None, d))
            for row in range(min(d, height))
            for column in range(min(d, width))
        ]
        pixels = torch.arange(height * width, device=x.device).view(height, width)
        order = torch.cat([pixels[phase].flatten() for phase in phases])
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=x.device)
        images = torch.cat([function(x[phase]).flatten(2) for phase in phases], 2)
        return images[:, :, place].view(x.shape)

    def dependent_steps(self, height: int, width: int) -> int:
        """Those of the two wavefronts on one of the d² images, and of the 1×1 convolution."""
        size = -(-height // self.dilation), -(-width // self.dilation)
        return 2 * self.first.dependent_steps(*size) + self.pointwise


def _initialized(conv: TriangularConv, x: Tensor) -> Tensor:
    conv.initialize(x)
    return x
