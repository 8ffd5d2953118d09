"""Cayley convolutions: circular and orthogonal, for any kernel."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from invconv.cache import EvalCache
from invconv.conv import About, InvertibleConv, Variant, log_det_dtype, register
from invconv.layers.frequencies import multiply, rounded, spectrum
from invconv.numerical import solved
from invconv.validation import check_kernel_size


@register("cayley")
class Cayley(InvertibleConv):
    """The orthogonal convolution of Trockman and Kolter (arXiv 2104.07167, algorithm 1).

    ẑ(u, v) = (I − A)⁻¹·(I + A)·x̂(u, v) at every frequency, with A = Ŵ − Ŵᴴ and Ŵ(u, v) that of
    the circular convolution with the kernel W = g·V / ‖V‖, as `Periodic` defines it. The matrix
    is unitary for any kernel: log_det is 0, the inverse multiplies by the Hermitian transpose,
    and neither direction amplifies an error. With k > 1 every number of z depends on all of x.

    The signs are those of NuX, where it is a layer of flows; the paper has −W in place of W. V
    starts at N(0, 1) as in NuX, and g at 1.

    Args:
        channels: C.
        kernel_size: k, at least 1; taps beyond the image wrap around it.

    Attributes:
        weight: V, (C, C, k, k).
        gain: g, a scalar.

    Raises:
        ValueError: if k is below 1.

    >>> import torch
    >>> from invconv import Cayley
    >>> layer = Cayley(3)
    >>> x = torch.randn(2, 3, 8, 8)
    >>> z, log_det = layer(x)
    >>> torch.allclose(z.norm(), x.norm()), log_det
    (True, tensor([0., 0.]))
    """

    algorithm = "fft"
    sees = "all"
    assumes = "periodic borders, no scale"
    about = About(
        title="Cayley",
        paper=(
            'Trockman and Kolter, "Orthogonalizing Convolutional Layers with the Cayley '
            'Transform", arXiv 2104.07167'
        ),
        year=2021,
        color="#550055",
        marker="H",
        variants={"cayley": Variant({"kernel_size": 3})},
        released="github.com/locuslab/orthogonal-convolutions@543b0aadb4",
    )

    def __init__(self, channels: int, kernel_size: int = 3) -> None:
        super().__init__(channels)
        self.kernel_size = check_kernel_size(kernel_size)
        self.weight = nn.Parameter(torch.randn(channels, channels, kernel_size, kernel_size))
        self.gain = nn.Parameter(torch.ones(()))
        self._cache = EvalCache()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, with the matrices of all frequencies that are kept in eval mode, and 0."""
        self.check_input(x)
        z = self._multiply(x, "forward", self._matrices)
        return z, x.new_zeros(x.shape[0], dtype=log_det_dtype(x))

    def _inverse(self, z: Tensor) -> Tensor:
        """x, by the Hermitian transposes of the same matrices."""
        return self._multiply(z, "inverse", lambda h, w: self._matrices(h, w).mH.resolve_conj())

    def kernel(self) -> Tensor:
        """W = g·V / ‖V‖, (C, C, k, k), float64; 0 where V is."""
        weight = self.weight.double()
        norm = torch.linalg.vector_norm(weight).clamp(min=torch.finfo(self.weight.dtype).tiny)
        return self.gain.double() * (weight / norm)

    def _matrices(self, height: int, width: int) -> Tensor:
        """(I − A)⁻¹·(I + A) at the frequencies of `torch.fft.rfft2`, (H, W // 2 + 1, C, C)."""
        w_hat = spectrum(self.kernel(), height, width)
        skew = w_hat - w_hat.mH
        identity = torch.eye(len(self.weight), dtype=skew.dtype, device=skew.device)
        return solved("Cayley", torch.linalg.solve, identity - skew, identity + skew)

    def _multiply(self, x: Tensor, name: str, compute: Callable[[int, int], Tensor]) -> Tensor:
        height, width = x.shape[2:]
        matrices = self._cache.get(
            f"{name} {height}x{width}",
            (self.weight, self.gain),
            self.training,
            lambda: rounded(compute(height, width), self.weight.dtype),
        )
        return multiply(x, matrices, self.weight.dtype)
