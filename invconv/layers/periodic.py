"""Periodic convolutions: circular, and therefore diagonal in the frequencies."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.cache import EvalCache
from invconv.conv import About, InvertibleConv, Variant, for_each_image, register
from invconv.layers.frequencies import multiply, rounded, spectrum
from invconv.numerical import solved
from invconv.validation import check_kernel_size

LARGEST_DIRECT_KERNEL = 4
"""Up to this k the padded convolution is faster than the FFT (CPU, 12 to 48 channels)."""


@register("periodic")
class Periodic(InvertibleConv):
    """The periodic convolution of Hoogeboom et al., "Emerging Convolutions" (arXiv 1901.11137).

    z[c, h, w] = Σ W[c, d, i, j]·x[d, (h + i − a) mod H, (w + j − a) mod W] with a = (k−1) // 2, so
    that ẑ(u, v) = Ŵ(u, v)·x̂(u, v) at every frequency with a C×C matrix Ŵ, log_det is the sum of
    log|det Ŵ| over all frequencies and the inverse multiplies by Ŵ⁻¹ (section 3). Initialized
    as released: N(0, 0.02²) plus a random rotation at the central tap; the released bias is left
    to the flow's ActNorm.

    Args:
        channels: C.
        kernel_size: k, at least 1; taps beyond the image wrap around it.
        inverse_method: "auto", or "published" for the paper's algorithm, which inverts the
            matrices of all frequencies in each call.

    Attributes:
        weight: (C, C, k, k).

    Raises:
        ValueError: if k is below 1 or the method is unknown.

    >>> import torch
    >>> from invconv import Periodic
    >>> layer = Periodic(3)
    >>> x = torch.randn(2, 3, 8, 8)
    >>> z, log_det = layer(x)
    >>> torch.allclose(layer(x.roll(1, -1))[0], z.roll(1, -1), atol=1e-5)
    True
    """

    solve_direction = "inverse"
    algorithm = "fft"
    sees = "all"
    assumes = "periodic borders"
    about = About(
        title="Periodic",
        paper=(
            'Hoogeboom, van den Berg and Welling, "Emerging Convolutions for Generative '
            'Normalizing Flows", arXiv 1901.11137'
        ),
        year=2019,
        color="#999933",
        marker="*",
        variants={
            "periodic": Variant({"kernel_size": 3}),
            "periodic_paper": Variant({"kernel_size": 3}, step="paper", swept=False),
        },
    )

    def __init__(self, channels: int, kernel_size: int = 3, inverse_method: str = "auto") -> None:
        super().__init__(channels, inverse_method)
        self.kernel_size = check_kernel_size(kernel_size)
        self._anchor = (kernel_size - 1) // 2
        weight = 0.02 * torch.randn(channels, channels, kernel_size, kernel_size)
        dtype = torch.promote_types(weight.dtype, torch.float32)  # none is made in half precision
        rotation = torch.linalg.qr(torch.randn(channels, channels, dtype=dtype))[0]
        weight[:, :, self._anchor, self._anchor] += rotation
        self.weight = nn.Parameter(weight)
        self._cache = EvalCache()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and the sum of log|det Ŵ(u, v)| over all frequencies.

        Computed by a padded convolution or through the frequencies, whichever is faster.
        """
        self.check_input(x)
        height, width = x.shape[2:]
        if self.kernel_size <= min(height, width, LARGEST_DIRECT_KERNEL):
            before, after = self._anchor, self.kernel_size - 1 - self._anchor
            padded = F.pad(x, (before, after, before, after), mode="circular")
            z = F.conv2d(padded, self.weight)
        else:
            z = self._multiply(x, self._cached("spectrum", height, width, self._matrices))
        log_det = self._cached("log_det", height, width, self._log_det)
        return z, for_each_image(log_det, x)

    def _inverse(self, z: Tensor) -> Tensor:
        """x, with a Ŵ⁻¹ at every frequency that is kept in eval mode."""
        height, width = z.shape[2:]
        return self._multiply(z, self._cached("inverse", height, width, self._inverse_matrices))

    def published_inverse(self, z: Tensor) -> Tensor:
        """x, with Ŵ⁻¹ computed in every call (section 3)."""
        height, width = z.shape[2:]
        matrices = self._matrices(height, width)
        return self._multiply(z, solved("Periodic", torch.linalg.inv, matrices))

    def spectrum(self, height: int, width: int) -> Tensor:
        """Ŵ at the frequencies of `torch.fft.rfft2`, (H, W // 2 + 1, C, C), complex128."""
        return spectrum(self.weight, height, width)

    def _cached(
        self, name: str, height: int, width: int, compute: Callable[[int, int], Tensor]
    ) -> Any:
        return self._cache.get(
            f"{name} {height}x{width}",
            (self.weight,),
            self.training,
            lambda: compute(height, width),
        )

    def _matrices(self, height: int, width: int) -> Tensor:
        return self._rounded(self.spectrum(height, width))

    def _inverse_matrices(self, height: int, width: int) -> Tensor:
        return self._rounded(solved("Periodic", torch.linalg.inv, self.spectrum(height, width)))

    def _rounded(self, matrices: Tensor) -> Tensor:
        return rounded(matrices, self.weight.dtype)

    def _log_det(self, height: int, width: int) -> Tensor:
        """The frequencies that `torch.fft.rfft2` leaves out are conjugates: they count twice."""
        log_abs_det = torch.linalg.slogdet(self.spectrum(height, width)).logabsdet.sum(0)
        alone = log_abs_det[0]
        if width % 2 == 0:
            alone = alone + log_abs_det[-1]
        return 2 * log_abs_det.sum() - alone

    def _multiply(self, x: Tensor, matrices: Tensor) -> Tensor:
        return multiply(x, matrices, self.weight.dtype)
