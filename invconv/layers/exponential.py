"""The exponential of a convolution, by its series."""

import math
from abc import abstractmethod
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.cache import EvalCache
from invconv.conv import About, InvertibleConv, Shape, Variant, for_each_image, register
from invconv.layers.spectral import norm_estimate, power_step, random_direction, spectral_bound
from invconv.modes import is_plain, no_autocast
from invconv.validation import check_choice, check_kernel_size, check_shape, no_pixels

LARGEST_COEFFICIENT = 4.0
"""Rounding errors of the series grow as e^(2c) in one direction: 3,000-fold at c = 4."""
RELEASED_TOLERANCE = 1e-3
"""What 6 terms may cut off: 1e-4 at ‖K‖ = 0.9, and 1e-3 at 1.3, where σ was too small."""
CHOICES = ("exact", "released")
RELEASED_TERMS = {True: 6, False: 13}
"""Whether in training mode → the number of terms of the released code."""


def number_of_terms(coefficient: float, dtype: torch.dtype) -> int:
    """The least T for which the rest of the series of exp(K), ‖K‖ ≤ c, is below rounding.

    That is Σ_{i > T} cⁱ/i! ≤ u·e⁻ᶜ with u half the eps of ``dtype``: ‖z‖ is at least e⁻ᶜ·‖x‖.

    >>> import torch
    >>> from invconv.layers.exponential import number_of_terms
    >>> number_of_terms(0.9, torch.float32), number_of_terms(0.9, torch.float64)
    (10, 17)
    """
    allowed = torch.finfo(dtype).eps / 2 * math.exp(-coefficient)
    terms, last = 0, 1.0
    while True:
        last *= coefficient / (terms + 1)
        ratio = coefficient / (terms + 2)
        if ratio < 1 and last / (1 - ratio) <= allowed and terms:
            return terms
        terms += 1


class Exponential(InvertibleConv):
    """z = exp(K*) x by its series, with K scaled down where its norm exceeds c."""

    sees = "all"
    assumes = "odd k, a bounded norm of K"

    def __init__(self, channels: int, kernel_size: int, coefficient: float) -> None:
        super().__init__(channels)
        self.kernel_size = k = check_kernel_size(kernel_size)
        if k % 2 == 0:
            raise ValueError(f"the kernel has a center: kernel_size must be odd, not {k}")
        if not 0 < coefficient <= LARGEST_COEFFICIENT:
            raise ValueError(
                f"coefficient must be above 0 and at most {LARGEST_COEFFICIENT}, where rounding "
                f"errors grow 3,000-fold, not {coefficient!r}"
            )
        self.coefficient = float(coefficient)
        self.weight = nn.Parameter(torch.randn(channels, channels, k, k) / (channels * k * k))
        self._cache = EvalCache()

    @classmethod
    def kernel_options(cls, k: int) -> dict[str, Any] | None:
        """Return the options of a k×k kernel; k is odd."""
        return super().kernel_options(k) if k % 2 else None

    @abstractmethod
    def _unit(self) -> Tensor:
        """K/c, (C, C, k, k) in float64."""

    def _scaled(self, kernel: Tensor) -> Tensor:
        """``kernel`` / max(c, σ) with an upper bound σ of its spectral norm."""
        bound = spectral_bound(kernel, self.kernel_size // 2)
        return kernel / bound.clamp(min=self.coefficient)

    def _terms(self) -> int:
        """How many terms after x the series has."""
        return number_of_terms(self.coefficient, self.weight.dtype)

    def _prepared(self) -> tuple[Tensor, Tensor]:
        """K/c in the dtype of the weight, and the trace of K's center tap in float64."""
        with no_autocast(self.weight.device):
            unit = self._unit()
        center = self.kernel_size // 2
        trace = self.coefficient * unit[:, :, center, center].diagonal().sum()
        return unit.to(self.weight.dtype), trace

    def _cached(self) -> tuple[Tensor, Tensor | float]:
        tensors = (self.weight, *self.buffers())
        return self._cache.get("kernel", tensors, self.training, self._prepared)

    def kernel(self) -> Tensor:
        """K, (C, C, k, k), after it was scaled."""
        return self.coefficient * self._cached()[0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and H·W times the trace of K's center tap."""
        self.check_input(x)
        unit, trace = self._cached()
        log_det = x.shape[2] * x.shape[3] * trace
        z = self._series(x, unit, self.coefficient)
        return z, for_each_image(log_det, x)

    def _inverse(self, z: Tensor) -> Tensor:
        """x = exp(−K*) z, by the same series."""
        return self._series(z, self._cached()[0], -self.coefficient)

    def _series(self, x: Tensor, unit: Tensor, factor: float) -> Tensor:
        """Σ factorⁱ/i!·(K/c)ⁱ x. No power of K/c enlarges x, so that no term overflows."""
        if no_pixels(x):
            return x.clone()
        z = term = x
        scale = 1.0
        for i in range(1, self._terms() + 1):
            term = F.conv2d(term, unit, padding=self.kernel_size // 2)
            scale *= factor / i
            z = torch.add(x, term, alpha=scale) if i == 1 else z.add_(term, alpha=scale)
        return z

    def dependent_steps(self, height: int, width: int) -> int:
        """The number of terms: each is a convolution of the one before."""
        return self._terms()


@register("conv_exp")
class ConvExponential(Exponential):
    """The convolution exponential of Hoogeboom et al. (arXiv 2006.01910, section 3).

    z = exp(K*) x = x + K*x + K*K*x/2! + … with zeros around x. log_det is H·W times the trace of
    K's center tap, exactly, and the inverse is the same series with −K. Initialized as released:
    K ~ N(0, 1)/(k²·C). The released biases and 1×1 convolution are left to the flow's ActNorm
    and mixing layers.

    Args:
        channels: C.
        kernel_size: k, odd.
        terms: "exact": K is divided by max(1, σ/c), with an upper bound σ of its spectral norm,
            see `spectral_bound`; the number of terms follows from c and the dtype, 10 in float32
            and 17 in float64 at c = 0.9, so that what is cut off is below rounding. "released":
            6 terms in training mode and 13 in eval mode, and K is divided by max(1, σ/c) + 1e-5
            with σ estimated by one power iteration per training step. σ is then too small while
            the weights move, and nothing is guaranteed: `exact` is False, `tolerance` 1e-3.
        coefficient: c, above 0 and at most 4; 0.9 as released.
        size: (H, W) of the images, for "released" alone, whose u and v are images.

    Attributes:
        weight: the kernel before it is scaled, (C, C, k, k).
        u, v: the singular vectors of the power iteration, (1, C, H, W), for "released". No call
            changes them; the backward pass of a training step stores what its forward pass used,
            which under `torch.compile` it does not.

    Raises:
        TypeError: if k is no integer.
        ValueError: if k is even or below 1, c out of range, ``terms`` unknown, or ``size``
            missing or not needed.

    >>> import torch
    >>> from invconv import ConvExponential
    >>> layer = ConvExponential(3)
    >>> z, log_det = layer(torch.randn(2, 3, 8, 8))
    >>> layer.inverse(z, check=True).shape, layer.dependent_steps(8, 8)
    (torch.Size([2, 3, 8, 8]), 10)
    """

    about = About(
        title="Convolution exponential",
        paper=(
            "Hoogeboom, Garcia Satorras, Tomczak and Welling, "
            '"The Convolution Exponential and Generalized Sylvester Flows", arXiv 2006.01910'
        ),
        year=2020,
        color="#9999FF",
        marker=">",
        variants={
            "conv_exp": Variant({"kernel_size": 3}),
            "conv_exp_released": Variant(
                {"kernel_size": 3, "terms": "released"},
                title="Convolution exponential, 6 and 13 terms",
                swept=False,
            ),
        },
        released="github.com/ehoogeboom/convolution_exponential_and_sylvester@0e4dd9ea8e",
    )
    u: Tensor
    v: Tensor

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        terms: Literal["exact", "released"] = "exact",
        coefficient: float = 0.9,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(channels, kernel_size, coefficient)
        self.terms = check_choice(terms, CHOICES, "terms")
        self.exact = terms == "exact"
        self.tolerance = 0.0 if self.exact else RELEASED_TOLERANCE
        if self.exact != (size is None):
            raise ValueError(
                f"size must be (H, W) of the images for terms='released' and omitted for 'exact', "
                f"not {size!r} for {terms!r}"
            )
        self.size = None if size is None else check_shape((channels, *size))[1:]
        if self.size is not None:
            self.register_buffer("u", random_direction(self.channels, *self.size))
            self.register_buffer("v", random_direction(self.channels, *self.size))

    @classmethod
    def from_shape(cls, shape: Shape, **options: Any) -> Self:
        """Build the layer for images of ``shape`` = (C, H, W); "released" for no other."""
        if options.get("terms") == "released":
            options = {"size": shape[1:], **options}
        return super().from_shape(shape, **options)

    def check_input(self, x: Tensor, name: str = "x") -> None:
        """Raise unless ``x`` is (B, C, H, W), of the layer's size if it has one."""
        super().check_input(x, name)
        if self.size is not None and tuple(x.shape[2:]) != self.size:
            height, width = self.size
            raise ValueError(
                f"{name} must have shape (B, {self.channels}, {height}, {width}): the power "
                f"iteration is for that size, not for {x.shape[2]}×{x.shape[3]}"
            )

    def _terms(self) -> int:
        return super()._terms() if self.exact else RELEASED_TERMS[self.training]

    def dependent_steps(self, height: int, width: int) -> int:
        """The number of terms in eval mode: each is a convolution of the one before."""
        return self._terms() if self.exact else RELEASED_TERMS[False]

    def _unit(self) -> Tensor:
        if self.exact:
            return self._scaled(self.weight.double())
        u, v = self.u.clone(), self.v.clone()
        if self.training:
            with torch.no_grad():
                u, v = power_step(self.weight, u)
        sigma = norm_estimate(self.weight, u, v).double()
        divisor = (sigma / self.coefficient).clamp(min=1) + 1e-5
        unit = self.weight.double() / (self.coefficient * divisor)
        if self.training and unit.requires_grad and is_plain():
            unit.register_hook(lambda gradient: self._store(u, v))
        return unit

    @torch.no_grad()
    def _store(self, u: Tensor, v: Tensor) -> None:
        self.u.copy_(u)
        self.v.copy_(v)
