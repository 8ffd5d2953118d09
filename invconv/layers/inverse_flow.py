"""Inverse-Flow: the inverse of a convolution in training, the convolution in sampling."""

import torch
from torch import Tensor

from invconv.conv import About, InvertibleConv, Variant, register
from invconv.layers.triangular import TriangularConv
from invconv.validation import check_kernel_size


@register("inverse_flow")
class InverseFlow(InvertibleConv):
    """The layer of Nagar and Varma, "Parallel Backpropagation for Inverse of a Convolution with
    Application to Normalizing Flows" (AISTATS 2025).

    z is the solution of conv(z) = x, where conv is one top-left padded convolution over all
    channels whose tap at the current pixel is unit lower triangular: log_det is 0, training pays
    for the wavefront, forward and backward, and sampling is a plain convolution. Initialized
    around the identity with the released Xavier noise of gain 0.01.

    The gradients are those of the inverse. The released ones are not: at C = 4 its code inverts
    four separate one-channel convolutions, and even for that map its gradients are off by 33 %
    (input) and 153 % (weight) of their norm; for other C its forward is not an inverse of its
    sampling (`tests/data/README.md` has the revision).

    Args:
        channels: C.
        kernel_size: k, at least 1.
        forward_method: how `forward` solves, a ``method`` of `solve_triangular_conv2d`.
        max_growth: g > 1 keeps the ∞-norm of what `forward` solves at most g, see
            `TriangularConv`; that of `inverse` is then below 2.

    Attributes:
        convolution: the convolution from z to x, a `TriangularConv`.

    Raises:
        ValueError: if k is below 1, max_growth not above 1 or the method unknown.

    >>> import torch
    >>> from invconv import InverseFlow
    >>> layer = InverseFlow(3)
    >>> z, log_det = layer(torch.randn(2, 3, 8, 8))  # solves
    >>> x = layer.inverse(z)  # convolves
    >>> torch.allclose(layer.convolution(z)[0], x)
    True
    """

    solve_direction = "forward"
    sees = "a quarter plane"
    about = About(
        title="Inverse-Flow",
        paper=(
            'Nagar and Varma, "Parallel Backpropagation for Inverse of a Convolution with '
            'Application to Normalizing Flows", AISTATS 2025, arXiv 2410.14634'
        ),
        year=2025,
        color="#AA4499",
        marker="v",
        variants={
            "inverse_flow": Variant({"kernel_size": 3}),
            "inverse_flow_paper": Variant({"kernel_size": 3}, step="paper", swept=False),
        },
        released="github.com/girish-lab/Inverse-Flow@176f2c78c8",
        agrees="in part: groups of one channel",
    )

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        forward_method: str = "auto",
        max_growth: float | None = None,
    ) -> None:
        super().__init__(channels)
        self.kernel_size = k = check_kernel_size(kernel_size)
        std = 0.01 / (k * channels**0.5)
        self.convolution = TriangularConv(
            channels, (k, k), std=std, inverse_method=forward_method, max_growth=max_growth
        )
        self.forward_method, self.max_growth = forward_method, max_growth

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, by one solve, and a log_det of zeros."""
        self.check_input(x)
        return self.convolution.inverse(x), self.convolution.log_det(x)

    def _inverse(self, z: Tensor) -> Tensor:
        """x, by one convolution."""
        return self.convolution.convolve(z)

    def solver(self, device: torch.device) -> str:
        """The method of `solve_triangular_conv2d` that `forward` runs on ``device``."""
        return self.convolution.solver(device)
