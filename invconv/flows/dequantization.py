"""Noise that turns integer pixel values into real numbers, and its density."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.about import Options
from invconv.conv import Shape
from invconv.flows.conditional import ConditionalCouplings
from invconv.flows.conditional_macow import ConditionalMaCow
from invconv.flows.preprocessing import PREPROCESSINGS, Preprocessing
from invconv.modes import is_recording
from invconv.validation import check_choice, check_options

INTEGERS = (
    torch.bool,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
)


class Dequantization(nn.Module, ABC):
    """Integer images x to real numbers y: noise u of a density q(u|x) on [0, 1), then a fixed map.

    With p the density of x + u, E log p(x + u) − log q(u|x) is a lower bound of log P(x) (Flow++,
    arXiv 1902.00275, section 3.1).

    Args:
        preprocessing: the map of x + u to y.

    Attributes:
        bins: the number of values that a pixel can take.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.bins = preprocessing.bins

    @abstractmethod
    def noise(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """One draw of u for pixel values x, both real (B, C, H, W), and log q(u|x), (B,)."""

    def forward(
        self, images: Tensor, dtype: torch.dtype, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Real-valued (B, C, H, W) of ``dtype``, and log|det dy/du| − log q(u|x), (B,).

        Half precision has no numbers between a pixel's value and the next: x + u is computed in
        float32 at least, and so is the second result.

        Args:
            images: (B, C, H, W) integers, of any dtype.
            dtype: of y.
            generator: the source of the noise.
        """
        u, log_q = self.noise(images.to(dtype), generator)
        x = images.to(torch.promote_types(dtype, torch.float32))
        y, log_det = self.preprocessing(x + u)
        return y.to(dtype), log_det - log_q

    def inverse(self, y: Tensor) -> Tensor:
        """uint8 images, (B, C, H, W)."""
        x = self.preprocessing.inverse(y)
        return x.floor().clamp(0, self.bins - 1).to(torch.uint8)

    def initialize(
        self, images: Tensor, dtype: torch.dtype, generator: torch.Generator | None = None
    ) -> None:
        """Data-dependent initialization, where the noise has parameters; as in `forward`."""


class UniformDequantization(Dequantization):
    """u ~ U[0, 1), so that log q = 0 (Theis et al., arXiv 1511.01844, section 3.1)."""

    def noise(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """See `Dequantization.noise`."""
        u = draw_like(x, torch.rand, generator)
        return u, x.new_zeros(x.shape[0])


class VariationalDequantization(Dequantization):
    """u = σ(g(ε, x)) with ε ~ N(0, I) and a flow g that is trained together with the model.

    Flow++ (arXiv 1902.00275, section 3.1); exactly
    log q(u|x) = log N(ε) − log|det dg/dε| − Σ log σ'(g(ε, x)).

    Args:
        preprocessing: the map of x + u to y.
        flow: g, with ``forward(ε, x)``, both (B, C, H, W), that returns g(ε, x) and log|det|,
            and ``initialize(ε, x)``; x comes scaled to [−1, 1).
    """

    def __init__(self, preprocessing: Preprocessing, flow: nn.Module) -> None:
        super().__init__(preprocessing)
        self.flow = flow

    def noise(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """See `Dequantization.noise`."""
        epsilon = self._epsilon(x, generator)
        v, log_det = self.flow(epsilon, self._scaled(x))
        log_normal = -0.5 * (epsilon.square() + math.log(2 * math.pi))
        # log σ'(v) = −softplus(v) − softplus(−v)
        log_q = log_normal + F.softplus(v) + F.softplus(-v)
        return torch.sigmoid(v), log_q.sum((1, 2, 3)) - log_det

    def initialize(
        self, images: Tensor, dtype: torch.dtype, generator: torch.Generator | None = None
    ) -> None:
        """See `Dequantization.initialize`."""
        x = images.to(dtype)
        self.flow.initialize(self._epsilon(x, generator), self._scaled(x))  # type: ignore[operator]

    def _epsilon(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return draw_like(x, torch.randn, generator)

    def _scaled(self, x: Tensor) -> Tensor:
        return 2 * x / self.bins - 1


def draw_like(x: Tensor, draw: Callable[..., Tensor], generator: torch.Generator | None) -> Tensor:
    """Numbers by `torch.rand` or `torch.randn` in the shape, dtype and place of ``x``."""
    how: dict[str, Any] = {"dtype": x.dtype, "device": x.device}
    if generator is not None:  # torch.compile and torch.export take no such argument
        how["generator"] = generator
    return draw(x.shape, **how)


FLOWS: dict[str, Callable[..., nn.Module]] = {
    "variational": ConditionalCouplings,
    "variational_macow": ConditionalMaCow,
}
DEQUANTIZATIONS = ("uniform", *FLOWS)
"""The names by which a flow takes them."""


def build_dequantization(
    name: str, preprocessing: str, shape: Shape, bins: int, options: Options
) -> Dequantization:
    """The dequantization of a flow on images of ``shape`` = (C, H, W).

    Args:
        name: "uniform", "variational" (`ConditionalCouplings`) or "variational_macow"
            (`ConditionalMaCow`).
        preprocessing: "logit" or "scale".
        shape: (C, H, W).
        bins: the number of values that a pixel can take.
        options: of the flow behind the noise; "uniform" has none.

    Raises:
        TypeError: for an option that the flow does not have.
        ValueError: for an unknown name, or a shape or options that do not fit.
    """
    check_choice(name, DEQUANTIZATIONS, "dequantization")
    fixed = PREPROCESSINGS[check_choice(preprocessing, PREPROCESSINGS, "preprocessing")](bins)
    if name == "uniform":
        if options:
            raise TypeError(f"uniform dequantization has no options, not {', '.join(options)}")
        return UniformDequantization(fixed)
    known = list(inspect.signature(FLOWS[name]).parameters)[1:]
    check_options(options, known, f"{name} dequantization")
    return VariationalDequantization(fixed, FLOWS[name](shape, **options))


def check_pixels(images: Tensor, shape: Shape, bins: int) -> None:
    """Raises unless ``images`` is (B, *shape) with integers from 0 to bins − 1.

    The values are looked at on the CPU alone, so that no device is synchronized.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a torch.Tensor, not {type(images).__name__}")
    if images.ndim != 4 or tuple(images.shape[1:]) != shape:
        raise ValueError(
            f"images must have shape (B, {', '.join(map(str, shape))}), not {tuple(images.shape)}"
        )
    if images.dtype not in INTEGERS or images.layout is not torch.strided:
        kind = (
            f"{images.dtype}, {images.layout}" if images.layout != torch.strided else images.dtype
        )
        raise TypeError(f"images must be integers from 0 to {bins - 1}, not {kind}")
    if images.device.type == "cpu" and images.numel() and not is_recording():
        large = images.dtype in (torch.uint16, torch.uint32, torch.uint64)  # aminmax knows none
        low, high = (int(value) for value in (images.double() if large else images).aminmax())
        if low < 0 or high >= bins:
            raise ValueError(
                f"images must be integers from 0 to {bins - 1}, not from {low} to {high}: give "
                "the flow as many bins as the data have levels, or the pixels fewer bits"
            )
