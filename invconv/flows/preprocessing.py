"""From the interval of pixel values to the real line and back."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from invconv.bijection import Bijection, log_det_dtype
from invconv.validation import whole

LARGEST = 256


class Preprocessing(Bijection):
    """A fixed map of each pixel value x + u in [0, bins) to a real number y.

    Args:
        bins: the number of values that a pixel can take, 0 … bins − 1; at most 256.

    Raises:
        ValueError: if bins is below 2 or above 256.
    """

    def __init__(self, bins: int) -> None:
        super().__init__()
        if not 2 <= (whole(bins) or 0) <= LARGEST:
            raise ValueError(f"bins must be between 2 and {LARGEST}, not {bins!r}")
        self.bins = int(bins)


class Logit(Preprocessing):
    """The logit of α + (1 − 2α)(x + u)/bins, so that no sample leaves the range.

    RealNVP (arXiv 1605.08803, section 4.1).

    Args:
        bins: as in `Preprocessing`.
        alpha: α, positive and below 1/2.
    """

    def __init__(self, bins: int, alpha: float = 1e-6) -> None:
        super().__init__(bins)
        if not 0 < alpha < 0.5:
            raise ValueError(f"alpha must be positive and below 1/2, not {alpha}")
        self.alpha = alpha

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """y of x + u, (B, C, H, W), and log|det dy/d(x + u)|, (B,)."""
        self.check_input(values)
        p = self.alpha + (1 - 2 * self.alpha) * values / self.bins
        p = p.clamp(self.alpha, 1 - self.alpha)
        y = torch.log(p) - torch.log1p(-p)
        # log dy/dp = −log p(1 − p) = softplus(y) + softplus(−y)
        slope = F.softplus(y) + F.softplus(-y) + math.log((1 - 2 * self.alpha) / self.bins)
        return y, slope.sum((1, 2, 3))

    def _inverse(self, z: Tensor) -> Tensor:
        return (torch.sigmoid(z) - self.alpha) / (1 - 2 * self.alpha) * self.bins


class Scale(Preprocessing):
    """y = (x + u)/bins − 1/2, as in the released Glow (arXiv 1807.03039)."""

    constant_log_det = True

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """y of x + u, (B, C, H, W), and log|det dy/d(x + u)|, (B,)."""
        self.check_input(values)
        slope = values.new_full((values.shape[0],), -math.log(self.bins), dtype=torch.float64)
        log_det = math.prod(values.shape[1:]) * slope
        return values / self.bins - 0.5, log_det.to(log_det_dtype(values))

    def _inverse(self, z: Tensor) -> Tensor:
        return (z + 0.5) * self.bins


PREPROCESSINGS: dict[str, type[Preprocessing]] = {"logit": Logit, "scale": Scale}
"""The names by which a flow takes them."""
