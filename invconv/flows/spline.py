"""A monotone spline applied to every element."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SplineActivation(nn.Module):
    """One monotone rational-quadratic spline for all elements, the identity outside ±bound.

    Neural Spline Flows (arXiv 1906.04032, equations 4, 5 and 29 to 32), with one set of knots
    instead of a network's, as the released Inverse-Flow uses it between its convolution and the
    1×1. Starts close to the identity.

    Args:
        bins: the number of pieces, each between two learned knots.
        bound: where the spline ends; its slope there is 1.
    """

    def __init__(self, bins: int = 10, bound: float = 20.0) -> None:
        super().__init__()
        self.bins, self.bound = bins, bound
        self.widths = nn.Parameter(0.01 * torch.randn(bins))
        self.heights = nn.Parameter(0.01 * torch.randn(bins))
        self.slopes = nn.Parameter(0.01 * torch.randn(bins - 1))

    def _knots(self) -> tuple[Tensor, Tensor, Tensor]:
        """x and y of the bins + 1 knots, and the slope at each."""
        starts = (free.softmax(0).cumsum(0)[:-1] for free in (self.widths, self.heights))
        x, y = (self.bound * (2 * F.pad(F.pad(s, (1, 0)), (0, 1), value=1.0) - 1) for s in starts)
        inner = F.softplus(self.slopes + torch.log(torch.expm1(self.slopes.new_ones(()))))
        return x, y, F.pad(inner, (1, 1), value=1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and the sum of the log-slopes, (B,)."""
        knots_x, knots_y, slopes = self._knots()
        inside = x.clamp(-self.bound, self.bound)
        k = torch.bucketize(inside, knots_x[1:-1])
        height, chord, left, right, y0 = _pieces(knots_x, knots_y, slopes, k)
        t = (inside - knots_x[k]) * chord / height
        u = t * (1 - t)
        below = chord + (left + right - 2 * chord) * u
        y = y0 + height * (chord * t * t + left * u) / below
        slope = right * t * t + 2 * chord * u + left * (1 - t) ** 2
        log_slope = 2 * chord.log() + slope.log() - 2 * below.log()
        outside = x.abs() > self.bound
        z = torch.where(outside, x, y)
        return z, torch.where(outside, 0.0, log_slope).flatten(1).sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        """x, the root of a quadratic per element."""
        knots_x, knots_y, slopes = self._knots()
        inside = z.clamp(-self.bound, self.bound)
        k = torch.bucketize(inside, knots_y[1:-1])
        height, chord, left, right, y0 = _pieces(knots_x, knots_y, slopes, k)
        bend = (inside - y0) * (left + right - 2 * chord)
        a = height * (chord - left) + bend
        b = height * left - bend
        c = -chord * (inside - y0)
        root = (b * b - 4 * a * c).clamp(min=0).sqrt()
        t = 2 * c / (-b - root)
        return torch.where(z.abs() > self.bound, z, knots_x[k] + t * height / chord)


def _pieces(x: Tensor, y: Tensor, slopes: Tensor, k: Tensor) -> tuple[Tensor, ...]:
    """Height, chord slope, slope at both ends and first y of piece ``k`` for each element."""
    heights = y.diff()
    chords = heights / x.diff()
    return heights[k], chords[k], slopes[k], slopes[k + 1], y[k]
