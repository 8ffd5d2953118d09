"""What several seeds of several methods resolve; the protocol is in docs/bits.md."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations

import numpy as np
import pandas as pd

LEVEL = 0.95
NORMAL = 1.96
"""Standard errors to each side in a 95 % interval over many images."""
POWER = 0.8
MARGIN = 0.01
"""Bits per dimension; two methods that differ by less are equivalent."""
WANTED = 0.015
"""Bits per dimension; seeds are added until so small a difference would be seen."""
DRAWS = 200_000
CHUNK = 20_000


@dataclass(frozen=True)
class Difference:
    """A method's mean bits per dimension minus another's, with simultaneous intervals.

    Attributes:
        mean: of the differences, seed by seed.
        reach: half of the interval that holds together with all others of its family.
        detectable: the smallest difference whose interval would exclude 0 with a probability of
            80 %.
    """

    mean: float
    reach: float
    detectable: float

    @property
    def resolved(self) -> bool:
        """Whether the interval excludes 0."""
        return abs(self.mean) > self.reach

    @property
    def equivalent(self) -> bool:
        """Whether the interval is within ± `MARGIN`."""
        return abs(self.mean) + self.reach < MARGIN

    @property
    def verdict(self) -> str:
        """ "resolved", "equivalent", both, or "neither"."""
        words = ["resolved"] * self.resolved + ["equivalent"] * self.equivalent
        return ", ".join(words) or "neither"

    def __str__(self) -> str:
        low, high = self.mean - self.reach, self.mean + self.reach
        return f"{self.mean:+.4f} [{low:+.4f}, {high:+.4f}]"


class Comparison:
    """The two-way layout bpd = method + seed + residual.

    Methods that are trained from one seed share their batches, their noise and the initial
    weights of the parts that they have in common, so that a part of what a seed changes is the
    same for all and cancels in a difference.

    Args:
        bpd: a line for each seed and a column for each method. Seeds that not every method has
            are omitted.
        control: the method that the others are compared with.

    Raises:
        ValueError: if the control is no column, or fewer than two methods or two seeds are left.

    >>> import pandas as pd
    >>> from invconv.report.comparison import Comparison
    >>> seeds = pd.DataFrame({"glow": [3.0, 3.1, 3.2], "finc": [2.9, 3.01, 3.1]})
    >>> Comparison(seeds, "glow").to_control["finc"].resolved
    True
    """

    def __init__(self, bpd: pd.DataFrame, control: str) -> None:
        self.bpd, self.control = bpd.dropna(), control
        if control not in bpd:
            raise ValueError(f"there is no method {control!r} to compare with")
        self.seeds, self.methods = self.bpd.shape
        if min(self.seeds, self.methods) < 2:
            raise ValueError(
                f"two methods with two common seeds are needed, not {self.methods} methods with "
                f"{self.seeds} seeds"
            )

    @property
    def names(self) -> list[str]:
        """The methods in their order."""
        return list(map(str, self.bpd))

    @property
    def others(self) -> list[str]:
        """All methods but the control."""
        return [name for name in self.names if name != self.control]

    @cached_property
    def freedom(self) -> int:
        """Degrees of freedom of the residual."""
        return (self.seeds - 1) * (self.methods - 1)

    @cached_property
    def sd(self) -> float:
        """Standard deviation of the residual."""
        table = self.bpd.to_numpy()
        residual = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
        return float((residual**2).sum() / self.freedom) ** 0.5

    @cached_property
    def sd_over_seeds(self) -> float:
        """Standard deviation of one method's bpd over seeds, pooled over the methods."""
        return float(self.bpd.var().mean() ** 0.5)

    @property
    def gain(self) -> float:
        """How many times as many seeds unpaired differences would need for the same intervals."""
        return (self.sd_over_seeds / self.sd) ** 2

    @property
    def error(self) -> float:
        """The standard error of a difference of two methods."""
        return self.sd * (2 / self.seeds) ** 0.5

    @cached_property
    def to_control(self) -> dict[str, Difference]:
        """The difference of each other method to the control; together by Dunnett's maximum."""
        quantile = dunnett(self.methods - 1, self.freedom)
        return {name: self._difference(name, self.control, quantile) for name in self.others}

    @cached_property
    def pairs(self) -> dict[tuple[str, str], Difference]:
        """The differences of all pairs; together by Tukey's studentized range."""
        from scipy import stats  # not at the top: every job of a sweep would load it

        quantile = stats.studentized_range.ppf(LEVEL, self.methods, self.freedom) / 2**0.5
        return {
            (a, b): self._difference(a, b, float(quantile)) for a, b in combinations(self.names, 2)
        }

    def _difference(self, method: str, other: str, quantile: float) -> Difference:
        from scipy import stats

        mean = float((self.bpd[method] - self.bpd[other]).mean())
        power = float(stats.t.ppf(POWER, self.freedom))
        return Difference(mean, quantile * self.error, (quantile + power) * self.error)

    def unpaired(self) -> dict[str, float]:
        """The p-value of each difference to the control by SciPy's Dunnett test, unpaired."""
        from scipy import stats

        found = stats.dunnett(
            *(self.bpd[name] for name in self.others),
            control=self.bpd[self.control],
            rng=np.random.default_rng(0),
        )
        return dict(zip(self.others, found.pvalue.tolist(), strict=True))

    def seeds_needed(self, wanted: float = WANTED) -> int:
        """Return how many seeds would see a difference of ``wanted`` to the control.

        2.32 · sd · √(5 / seeds) ≤ wanted: 80 % power with ten methods.
        """
        return int(np.ceil(5 * (2.32 * self.sd / wanted) ** 2))


def reach_over_images(values: np.ndarray) -> float:
    """Return half the 95 % interval of the mean of ``values``, one for each image."""
    return float(NORMAL * values.std(ddof=1) / len(values) ** 0.5)


@cache
def dunnett(others: int, freedom: int, level: float = LEVEL) -> float:
    """Return the quantile of the largest |t| of ``others`` means against one control.

    By simulation, with a fixed seed: normal means of as many seeds each, and a common standard
    deviation with ``freedom`` degrees of freedom (Dunnett, 1955).
    """
    largest = np.concatenate(list(_largest(others, freedom)))
    return float(np.quantile(largest, level))


def _largest(others: int, freedom: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(DRAWS // CHUNK):
        means = rng.standard_normal((CHUNK, others + 1))
        sd = np.sqrt(rng.chisquare(freedom, CHUNK) / freedom)
        yield np.abs(means[:, 1:] - means[:, :1]).max(1) / (2**0.5 * sd)


@cache
def coverage(methods: int, seeds: int, trials: int = 20_000) -> float:
    """Return how often all intervals of `Comparison.to_control` hold the true differences.

    By simulation: normal residuals, an effect of the seed as large as they are, no differences.
    """
    rng = np.random.default_rng(1)
    quantile = dunnett(methods - 1, (methods - 1) * (seeds - 1))
    held = 0
    for first in range(0, trials, CHUNK):
        size = min(CHUNK, trials - first)
        table = rng.standard_normal((size, seeds, methods)) + rng.standard_normal((size, seeds, 1))
        means = table.mean(1)
        residual = table - means[:, None] - table.mean(2, keepdims=True)
        residual += table.mean((1, 2), keepdims=True)
        sd = np.sqrt((residual**2).sum((1, 2)) / ((methods - 1) * (seeds - 1)))
        difference = np.abs(means[:, 1:] - means[:, :1]).max(1)
        held += int((difference <= quantile * sd * (2 / seeds) ** 0.5).sum())
    return held / trials
