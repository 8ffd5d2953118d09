"""CInC: one padded convolution over all channels."""

from typing import Literal

from invconv.conv import About, Variant, register
from invconv.layers.triangular import TriangularConv
from invconv.validation import check_kernel_size


@register("cinc")
class CInC(TriangularConv):
    """The convolution of Nagar, Dufraisse and Varma, "CInC Flow" (arXiv 2107.01358, section 3).

    One full C×C kernel of k×k taps on an image padded at the top and on the left; the tap at the
    current pixel is upper triangular in channels. Initialized as released: N(0, 0.02) plus the
    identity at the current pixel.

    Args:
        channels: C.
        kernel_size: k, at least 1.
        diagonal: "learned", as released but for its fixed sign, or "unit", as in FInC's
            comparison, where log_det is 0.
        bias: whether to add one free number per channel, as released.
        inverse_method: how `inverse` is computed, a ``method`` of `solve_triangular_conv2d`, or
            "published" for the paper's loop over pixels and channels, "raster_serial". The FInC
            authors inverted it by "diagonal_channel".
        max_growth: g > 1 keeps the ∞-norm of the inverse at most g / min|diagonal|, see
            `TriangularConv`.
        init: "random" or "data", see `TriangularConv`.

    Attributes:
        weight: the free parameter, (C, C, k, k), of which C²k² − C(C−1)/2 entries are used.

    Raises:
        ValueError: if k is below 1, max_growth not above 1 or a choice unknown.

    >>> import torch
    >>> from invconv import CInC
    >>> layer = CInC(3, bias=True)
    >>> z, log_det = layer(torch.randn(2, 3, 8, 8))
    >>> layer.inverse(z).shape, log_det.shape
    (torch.Size([2, 3, 8, 8]), torch.Size([2]))
    """

    sees = "a quarter plane"
    about = About(
        title="CInC",
        paper=(
            'Nagar, Dufraisse and Varma, "CInC Flow: Characterizable Invertible 3×3 Convolution", '
            "arXiv 2107.01358"
        ),
        year=2021,
        color="#117733",
        marker="^",
        variants={
            "cinc": Variant({"kernel_size": 3}),
            "cinc_paper": Variant({"kernel_size": 3}, step="paper", swept=False),
        },
        released="github.com/Naagar/Normalizing_Flow_3x3_inv@01fb00ed3b",
    )

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        diagonal: Literal["unit", "learned"] = "learned",
        bias: bool = False,
        inverse_method: str = "auto",
        max_growth: float | None = None,
        init: Literal["random", "data"] = "random",
    ) -> None:
        k = check_kernel_size(kernel_size)
        super().__init__(
            channels,
            (k, k),
            upper=True,
            diagonal=diagonal,
            std=0.02,
            bias=bias,
            inverse_method=inverse_method,
            max_growth=max_growth,
            init=init,
        )
        self.kernel_size = k
