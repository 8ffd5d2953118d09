"""Noise that turns integer pixel values into real numbers, and its density."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.about import Options
from invconv.conv import Shape
from invconv.flows.conditional import ConditionalCouplings
from invconv.flows.conditional_macow import ConditionalMaCow
from invconv.flows.preprocessing import PREPROCESSINGS, Preprocessing
from invconv.validation import check_choice, check_options


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

        Args:
            images: (B, C, H, W) integers, of any dtype.
            dtype: the dtype to compute in.
            generator: the source of the noise.
        """
        x = images.to(dtype)
        u, log_q = self.noise(x, generator)
        y, log_det = self.preprocessing(x + u)
        return y, log_det - log_q

    def inverse(self, y: Tensor) -> Tensor:
        """uint8 images, (B, C, H, W)."""
        x = self.preprocessing.inverse(y)
        return x.floor().clamp(0, self.bins - 1).to(torch.uint8)

    def initialize(
        self, images: Tensor, dtype: torch.dtype, generator: torch.Generator | None = None
    ) -> None:
        """Data-dependent initialisation, where the noise has parameters; as in `forward`."""


class UniformDequantization(Dequantization):
    """u ~ U[0, 1), so that log q = 0 (Theis et al., arXiv 1511.01844, section 3.1)."""

    def noise(self, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """See `Dequantization.noise`."""
        u = torch.rand(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        return u, x.new_zeros(len(x))


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
        return torch.sigmoid(v), log_q.flatten(1).sum(1) - log_det

    def initialize(
        self, images: Tensor, dtype: torch.dtype, generator: torch.Generator | None = None
    ) -> None:
        """See `Dequantization.initialize`."""
        x = images.to(dtype)
        self.flow.initialize(self._epsilon(x, generator), self._scaled(x))  # type: ignore[operator]

    def _epsilon(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)

    def _scaled(self, x: Tensor) -> Tensor:
        return 2 * x / self.bins - 1


FLOWS: dict[str, Callable[..., nn.Module]] = {
    "variational": ConditionalCouplings,
    "variational_macow": ConditionalMaCow,
}
DEQUANTIZATIONS = ("uniform", *FLOWS)
"""The names by which a flow takes them."""


def build_dequantization(
    name: str, preprocessing: str, shape: Shape, bins: int, options: Options
) -> Dequantization:
    """The dequantisation of a flow on images of ``shape`` = (C, H, W).

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
            raise TypeError(f"uniform dequantisation has no options, not {', '.join(options)}")
        return UniformDequantization(fixed)
    known = list(inspect.signature(FLOWS[name]).parameters)[1:]
    check_options(options, known, f"{name} dequantisation")
    return VariationalDequantization(fixed, FLOWS[name](shape, **options))
