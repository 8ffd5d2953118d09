"""A monotone spline applied to every element."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.bijection import Bijection
from invconv.validation import check_count

SMALLEST = 1e-3
FEW = 16
"""Up to how many knots a value's piece is counted (CPU)."""


class SplineActivation(Bijection):
    """One monotone rational-quadratic spline for all elements, the identity outside ±bound.

    Neural Spline Flows (arXiv 1906.04032, equations 4, 5 and 29 to 32), with one set of knots
    instead of a network's, as Inverse-Flow uses it. No piece is narrower or lower than a
    thousandth of the whole and no slope is smaller, which bounds what rounding can do. Starts
    close to the identity.

    Args:
        bins: the number of pieces, each between two learned knots.
        bound: where the spline ends; its slope there is 1.

    Raises:
        ValueError: if bins is below 1 or above 500, or bound is not positive and finite.
    """

    def __init__(self, bins: int = 10, bound: float = 20.0) -> None:
        super().__init__()
        check_count(bins, "bins")
        if bins > 0.5 / SMALLEST or not 0 < bound < math.inf:
            raise ValueError(
                f"bins must be from 1 to {0.5 / SMALLEST:.0f} and bound positive and finite, "
                f"not {bins} and {bound}"
            )
        self.bins, self.bound = bins, bound
        self.widths = nn.Parameter(0.01 * torch.randn(bins))
        self.heights = nn.Parameter(0.01 * torch.randn(bins))
        self.slopes = nn.Parameter(0.01 * torch.randn(bins - 1))

    def _pieces(self) -> tuple[Tensor, Tensor, Tensor]:
        """x and y of the inner knots, and x, y, width, height and both slopes of every piece."""
        x, y = self._knots(self.widths), self._knots(self.heights)
        one = torch.expm1(self.slopes.new_tensor(1 - SMALLEST)).log()
        slopes = F.pad(SMALLEST + F.softplus(self.slopes + one), (1, 1), value=1.0)
        table = torch.stack([x[:-1], y[:-1], x.diff(), y.diff(), slopes[:-1], slopes[1:]])
        return x[1:-1], y[1:-1], table

    def _knots(self, free: Tensor) -> Tensor:
        """From −bound to bound, (bins + 1,)."""
        sizes = SMALLEST + (1 - self.bins * SMALLEST) * free.softmax(0)
        inner = 2 * sizes.cumsum(0)[:-1] - 1
        ends = inner.new_ones(1)
        return self.bound * torch.cat([-ends, inner, ends])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and the sum of the log-slopes, (B,)."""
        self.check_input(x)
        knots, _, table = self._pieces()
        inside = x.clamp(-self.bound, self.bound)
        x0, y0, width, height, left, right = _at_pieces(table, inside, knots)
        chord, t = height / width, (inside - x0) / width
        u = t * (1 - t)
        below = chord + (left + right - 2 * chord) * u
        z = y0 + height * (chord * t * t + left * u) / below
        slope = (right * t * t + 2 * chord * u + left * (1 - t) ** 2) * (chord / below) ** 2
        outside = x.abs() > self.bound
        log_slope = torch.where(outside, 0.0, slope.log())
        return torch.where(outside, x, z), log_slope.sum((1, 2, 3))

    def _inverse(self, z: Tensor) -> Tensor:
        """x, the root of a quadratic per element."""
        _, knots, table = self._pieces()
        inside = z.clamp(-self.bound, self.bound)
        x0, y0, width, height, left, right = _at_pieces(table, inside, knots)
        chord, rise = height / width, inside - y0
        bend = rise * (left + right - 2 * chord)
        a, b, c = height * (chord - left) + bend, height * left - bend, -chord * rise
        root = (b * b - 4 * a * c).clamp(min=0).sqrt()
        return torch.where(z.abs() > self.bound, z, x0 + width * 2 * c / (-b - root))


def _at_pieces(table: Tensor, values: Tensor, knots: Tensor) -> list[Tensor]:
    """Each row of ``table``, (6, bins), at the piece in which each value lies.

    Where there are few knots, counting those below a value is faster than a search.
    """
    if len(knots) < FEW:
        piece = torch.zeros_like(values, dtype=torch.uint8)
        for knot in knots.unbind():
            piece = piece + (values > knot)
    else:
        piece = torch.bucketize(values, knots)
    place = piece.flatten().long()
    return [row.index_select(0, place).view(values.shape) for row in table.unbind()]
