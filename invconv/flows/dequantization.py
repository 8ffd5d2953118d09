"""From integer pixel values to real numbers and back."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UniformDequantization(nn.Module):
    """Uniform noise, then the logit of α + (1 − 2α)(x + u)/bins.

    Adding u ~ U[0, 1) makes log p a lower bound of the log-probability of the integers (Theis et
    al., arXiv 1511.01844, section 3.1); the logit keeps samples inside the range (RealNVP,
    arXiv 1605.08803, section 4.1).

    Args:
        bins: the number of values that a pixel can take, 0 … bins − 1; at most 256.
        alpha: α.
    """

    def __init__(self, bins: int, alpha: float = 1e-6) -> None:
        super().__init__()
        if not 2 <= bins <= 256:
            raise ValueError(f"bins must be between 2 and 256, not {bins}")
        self.bins = bins
        self.alpha = alpha

    def forward(
        self, images: Tensor, dtype: torch.dtype, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Real-valued (B, C, H, W) of ``dtype``, and log|det| with respect to x + u, (B,).

        Args:
            images: (B, C, H, W) integers, of any dtype.
            dtype: the dtype to compute in.
            generator: the source of the noise.
        """
        x = images.to(dtype)
        noise = torch.rand(x.shape, dtype=dtype, device=x.device, generator=generator)
        p = self.alpha + (1 - 2 * self.alpha) * (x + noise) / self.bins
        p = p.clamp(self.alpha, 1 - self.alpha)
        y = torch.log(p) - torch.log1p(-p)
        # log dy/dp = −log p(1 − p) = softplus(y) + softplus(−y)
        slope = F.softplus(y) + F.softplus(-y) + math.log((1 - 2 * self.alpha) / self.bins)
        return y, slope.flatten(1).sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        """uint8 images, (B, C, H, W)."""
        x = (torch.sigmoid(y) - self.alpha) / (1 - 2 * self.alpha) * self.bins
        return x.floor().clamp(0, self.bins - 1).to(torch.uint8)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"bins={self.bins}, alpha={self.alpha}"
