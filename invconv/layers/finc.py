"""FInC: four corner convolutions on four quarters of the channels."""

from typing import Literal

from invconv.conv import About, Variant, register
from invconv.layers.triangular import TriangularConv
from invconv.solvers.problem import CORNERS
from invconv.validation import check_kernel_size


@register("finc")
class FInC(TriangularConv):
    """The FInC unit of Kallappa, Nagar and Varma, "FInC Flow" (arXiv 2301.09266, section 3).

    The channels are split into four quarters; each is convolved with its own k×k kernel, padded
    at the top left, top right, bottom left and bottom right corner. The tap at the current pixel
    is unit lower triangular in channels, so that log_det is 0 exactly, and the inverse is a
    wavefront of 2n−1 dependent steps. Initialized as released: N(0, 0.05).

    Args:
        channels: C, a multiple of 4.
        kernel_size: k, at least 1.
        inverse_method: how `inverse` is computed, a ``method`` of `solve_triangular_conv2d`, or
            "published" for the paper's algorithm 1, "diagonal_channel".
        max_growth: g > 1 keeps the ∞-norm of the inverse at most g, see `TriangularConv`.
        std, init: of the initial taps, as in `TriangularConv`.

    Attributes:
        weight: the free parameter, (C, C/4, k, k). `triangular_weight` is the constrained kernel
            made from it; entries that it does not use have zero gradient.

    Raises:
        ValueError: if C is not a multiple of 4, k is below 1, max_growth not above 1 or the
            method unknown.

    >>> import torch
    >>> from invconv import FInC
    >>> layer = FInC(12, kernel_size=5)
    >>> z, log_det = layer(torch.randn(2, 12, 8, 8))
    >>> log_det
    tensor([0., 0.])
    >>> layer.inverse(z).shape
    torch.Size([2, 12, 8, 8])
    """

    published = "diagonal_channel"
    sees = "a quarter plane"
    assumes = "C a multiple of 4"
    about = About(
        title="FInC",
        paper=(
            'Kallappa, Nagar and Varma, "FInC Flow: Fast and Invertible k×k Convolutions for '
            'Normalizing Flows", arXiv 2301.09266'
        ),
        year=2023,
        color="#CC6677",
        marker="s",
        variants={
            "finc": Variant({"kernel_size": 3}),
            "finc_paper": Variant({"kernel_size": 3}, step="paper", swept=False),
            "finc_bounded": Variant(
                {"kernel_size": 3, "max_growth": 4.0}, color="#777777", marker=".", swept=False
            ),
            "finc_published": Variant(
                {"kernel_size": 3, "inverse_method": "published"},
                color="#777777",
                marker=".",
                swept=False,
            ),
        },
        released="github.com/aditya-v-kallappa/FInCFlow@298c731768",
    )

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        inverse_method: str = "auto",
        max_growth: float | None = None,
        std: float | Literal["fan_in"] = 0.05,
        init: Literal["random", "data"] = "random",
    ) -> None:
        k = check_kernel_size(kernel_size)
        super().__init__(
            channels,
            (k, k),
            corners=CORNERS,
            inverse_method=inverse_method,
            max_growth=max_growth,
            std=std,
            init=init,
        )
        self.kernel_size = k
