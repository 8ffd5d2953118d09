"""MaCow: masked convolutions that are autoregressive over rows or columns."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from invconv.conv import About, InvertibleConv, Variant, log_det_dtype, register
from invconv.layers.masked_conv import MaskedConv
from invconv.modes import no_autocast

Invert = Callable[[MaskedConv, Tensor], tuple[Tensor, Tensor]]
"""x of z and log|det dx/dz|, (B,)."""


@register("macow")
class MaCow(InvertibleConv):
    """The masked convolutions of Ma et al., "MaCow" (arXiv 1902.04208, section 3).

    One after the other, each computes z = s·x + μ, where s and μ of a row (or column) are
    functions of the rows before it alone; log_det is Σ log s, and the inverse runs row by row,
    under autocast too in the dtype of the parameters.
    MaCow's unit is an ActNorm before each of the pairs "AB" and "CD", its step two units and a
    step of Glow. Initialized by `initialize` as released: weight normalization that normalizes
    the hidden activations, and an output of zero, so that s = sigmoid(2) and μ = 0.

    Args:
        channels: C.
        orders: the direction of each masked convolution: "A" runs over rows downwards, "B"
            upwards, "C" over columns rightwards, "D" leftwards.
        kernel_size: how many rows before are seen, and how many pixels across (odd); (2, 3) as
            released, for columns turned by itself.
        hidden_channels: of each masked convolution; by default 4·C up to C = 96, then 2·C, at
            most 512.
        inverse_method: "auto", or "published" for the released loop, two convolutions for each
            row with weights normalized again (without the forward pass that follows there).

    Raises:
        TypeError: if the kernel size is not two integers.
        ValueError: for an unknown order or method, or sizes that do not fit.

    >>> import torch
    >>> from invconv import MaCow
    >>> layer = MaCow(3, orders="AB", hidden_channels=8)
    >>> x = torch.randn(2, 3, 8, 8)
    >>> layer.initialize(x)
    >>> z, log_det = layer(x)
    >>> torch.allclose(z, x * torch.sigmoid(torch.tensor(2.0)) ** 2, atol=1e-5)
    True
    """

    constant_log_det = False
    solve_direction = "inverse"
    algorithm = "rows"
    sees = "four half planes"
    assumes = "odd k"
    about = About(
        title="MaCow",
        paper=(
            'Ma, Kong, Zhang and Hovy, "MaCow: Masked Convolutional Generative Flow", '
            "arXiv 1902.04208"
        ),
        year=2019,
        color="#44AA99",
        marker="h",
        variants={
            "macow": Variant(),
            "macow_paper": Variant(step="paper", swept=False),
        },
        released="github.com/XuezheMax/macow@6de247c09b",
    )

    def __init__(
        self,
        channels: int,
        orders: str = "ABCD",
        kernel_size: Sequence[int] = (2, 3),
        hidden_channels: int | None = None,
        inverse_method: str = "auto",
    ) -> None:
        super().__init__(channels, inverse_method)
        if not orders or set(orders) - set("ABCD"):
            raise ValueError(f"orders must be letters of ABCD, at least one, not {orders!r}")
        self.orders = orders
        self.kernel_size = _check_kernel_size(kernel_size)
        if hidden_channels is None:
            hidden_channels = 4 * channels if channels <= 96 else min(2 * channels, 512)
        if hidden_channels < 1:
            raise ValueError(f"hidden_channels must be at least 1, not {hidden_channels}")
        self.hidden_channels = hidden_channels
        self.convs = nn.ModuleList(
            MaskedConv(channels, order, self.kernel_size, hidden_channels) for order in orders
        )

    @classmethod
    def kernel_options(cls, k: int) -> dict[str, Any] | None:
        """Return the options of a kernel k across and ⌈k/2⌉ rows before; k is odd."""
        return {"kernel_size": ((k + 1) // 2, k)} if k % 2 else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and Σ log s over all masked convolutions."""
        self.check_input(x)
        dtype = log_det_dtype(x)
        with no_autocast(x.device):
            x = x.to(next(self.parameters()).dtype)
            log_det = x.new_zeros(x.shape[0])
            for conv in self.convs:
                x, change = conv(x)
                log_det = log_det + change
        return x, log_det.to(dtype)

    def _inverse(self, z: Tensor) -> Tensor:
        """x, row by row and column by column."""
        return self._backwards(z, partial(MaskedConv.inverse, with_log_det=False))[0]

    def published_inverse(self, z: Tensor) -> Tensor:
        """x by the released loop, see `MaskedConv.published_inverse`."""
        return self._backwards(z, MaskedConv.published_inverse)[0]

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """x, and log|det dx/dz|, (B,), from the scales that the inverse computes anyway."""
        if self.inverse_method == "published":
            return super().inverse_and_log_det(z)
        self.check_input(z, "z")
        return self._backwards(z, partial(MaskedConv.inverse, with_log_det=True))

    def _backwards(self, z: Tensor, invert: Invert) -> tuple[Tensor, Tensor]:
        dtype = log_det_dtype(z)
        with no_autocast(z.device):
            z = z.to(next(self.parameters()).dtype)
            log_det = z.new_zeros(z.shape[0])
            for conv in reversed(self._convs):
                z, change = invert(conv, z)
                log_det = log_det + change
        return z, log_det.to(dtype)

    def initialize(self, x: Tensor) -> None:
        """Initialize each masked convolution on what reaches it."""
        self.check_input(x)
        for conv in self._convs:
            conv.initialize(x)
            x = conv(x)[0]

    @property
    def _convs(self) -> list[MaskedConv]:
        return cast(list[MaskedConv], list(self.convs))

    def dependent_steps(self, height: int, width: int) -> int:
        """One per row of "A" and "B" and one per column of "C" and "D"."""
        return sum(height if order in "AB" else width for order in self.orders)


def _check_kernel_size(kernel_size: Sequence[int]) -> tuple[int, int]:
    sizes = tuple(kernel_size) if isinstance(kernel_size, Sequence) else ()
    if len(sizes) != 2 or not all(type(size) is int for size in sizes):
        raise TypeError(
            f"kernel_size must be two integers, the rows before and the pixels across, "
            f"not {kernel_size!r}"
        )
    before, across = sizes
    if before < 1 or across < 1 or across % 2 == 0:
        raise ValueError(
            f"kernel_size must be at least 1, and odd across the rows, not {before}×{across}"
        )
    return before, across
