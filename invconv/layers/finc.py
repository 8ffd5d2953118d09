"""FInC: four corner convolutions on four quarters of the channels."""

import torch
from torch import Tensor, nn

from invconv.cache import EvalCache
from invconv.conv import InvertibleConv, register
from invconv.solvers import known_methods, resolve, solve_triangular_conv2d, triangular_conv2d
from invconv.solvers.problem import CORNERS
from invconv.validation import check_choice, check_kernel_size


@register("finc")
class FInC(InvertibleConv):
    """The FInC unit of Kallappa, Nagar and Varma, "FInC Flow" (arXiv 2301.09266, section 3).

    The channels are split into four quarters; each is convolved with its own k×k kernel, padded
    at the top left, top right, bottom left and bottom right corner. The tap at the current pixel
    is unit lower triangular in channels, so that log_det is 0 exactly, and the inverse is a
    wavefront of 2n−1 dependent steps. Initialised as released: N(0, 0.05).

    Args:
        channels: C, a multiple of 4.
        kernel_size: k, at least 1.
        inverse_method: how `inverse` is computed, a ``method`` of `solve_triangular_conv2d`, or
            "published" for the paper's algorithm 1, "diagonal_channel".

    Attributes:
        weight: the free parameter, (C, C/4, k, k). `triangular_weight` is the constrained kernel
            made from it; entries that it does not use have zero gradient.

    Raises:
        ValueError: if C is not a multiple of 4, k is below 1 or the method is unknown.
    """

    solve_direction = "inverse"

    def __init__(self, channels: int, kernel_size: int = 3, inverse_method: str = "auto") -> None:
        super().__init__(channels)
        if channels % 4:
            raise ValueError(
                f"FInC splits the channels into four quarters: channels must be a multiple of 4, "
                f"not {channels}"
            )
        self.kernel_size = check_kernel_size(kernel_size)
        known = ("published", *known_methods())
        self.inverse_method = check_choice(inverse_method, known, "inverse_method")
        self.weight = nn.Parameter(
            0.05 * torch.randn(channels, channels // 4, kernel_size, kernel_size)
        )
        self._cache = EvalCache()

    def triangular_weight(self) -> Tensor:
        """The constrained kernel, (C, C/4, k, k): its last tap is unit lower triangular."""
        return self._cache.get("weight", (self.weight,), self.training, self._constrain)

    def _constrain(self) -> Tensor:
        quarter = self.channels // 4
        identity = torch.eye(quarter, dtype=self.weight.dtype, device=self.weight.device)
        last = self.weight[:, :, -1, -1].view(4, quarter, quarter).tril(-1) + identity
        taps = self.weight.flatten(2)[:, :, :-1]
        return torch.cat([taps, last.view(-1, quarter, 1)], 2).view_as(self.weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and a log_det of zeros."""
        self.check_input(x)
        z = triangular_conv2d(x, self.triangular_weight(), corners=CORNERS)
        return z, x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor, *, check: bool = False) -> Tensor:
        """x, by one solve for all four corners."""
        self.check_input(z, "z")
        return solve_triangular_conv2d(
            z, self.triangular_weight(), corners=CORNERS, method=self._method, check=check
        )

    def solver(self, device: torch.device) -> str:
        """The method of `solve_triangular_conv2d` that runs on ``device``."""
        return resolve(self._method, device)

    @property
    def _method(self) -> str:
        return "diagonal_channel" if self.inverse_method == "published" else self.inverse_method
