"""Differences between methods, paired by seed."""

from dataclasses import dataclass

import pandas as pd

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A method's metric minus the baseline's: the mean over common seeds or images.

    low, high: its 95 % interval by Student's t; error: its standard error.
    """

    mean: float
    low: float
    high: float
    pairs: int
    error: float

    def __str__(self) -> str:
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"

    def resolved(self, among: int = 1) -> bool:
        """Whether the 95 % interval excludes zero, widened for ``among`` comparisons at once.

        By Bonferroni: each of m intervals at 1 − 0.05/m, so that all of them hold together with
        at least 95 %.
        """
        return abs(self.mean) > _reach(self.pairs, among) * self.error

    def detectable(self, among: int = 1) -> float:
        """The smallest difference that would have been resolved with a probability of 80 %."""
        return (_reach(self.pairs, among) + _student(0.8, self.pairs)) * self.error


def paired_difference(
    rows: pd.DataFrame, baseline: pd.DataFrame, metric: str
) -> Difference | None:
    """The difference between two sets of rows, paired by seed; None below two common seeds."""
    ours, theirs = (frame.set_index("seed")[metric] for frame in (rows, baseline))
    return mean_difference((ours - theirs).dropna())


def mean_difference(difference: pd.Series) -> Difference | None:
    """The mean of paired differences and its 95 % interval; None below two pairs."""
    n = len(difference)
    if n < 2:
        return None
    mean, error = float(difference.mean()), float(difference.std()) / n**0.5
    reach = _reach(n) * error
    return Difference(mean, mean - reach, mean + reach, n, error)


def _reach(pairs: int, among: int = 1) -> float:
    """Standard errors to each side of the mean in one of ``among`` intervals."""
    return _student(1 - (1 - CONFIDENCE) / 2 / among, pairs)


def _student(probability: float, pairs: int) -> float:
    from scipy import stats  # not at the top: every job of a sweep would load it

    return float(stats.t.ppf(probability, pairs - 1))
