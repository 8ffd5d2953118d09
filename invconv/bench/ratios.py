"""Ratios of times of one block, with intervals, from its samples alone."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from invconv.rows import Values

LEVEL = 0.95
ALIKE = 4
"""So many ratios of one kind have a standard deviation of their own."""


@dataclass(frozen=True)
class Ratio:
    """Which times are divided: the calls' names, where * is each part in turn."""

    name: str
    numerator: str
    denominator: str


@dataclass(frozen=True)
class Interval:
    """A ratio with its 95 % interval, and one of all ratios of a page together."""

    ratio: float
    low: float = math.nan
    high: float = math.nan
    low_all: float = math.nan
    high_all: float = math.nan

    def values(self, name: str) -> Values:
        """A row's values: ``name`` and its ends; an interval that is not known has none."""
        ends = {"_low": self.low, "_high": self.high}
        ends |= {"_low_all": self.low_all, "_high_all": self.high_all}
        known = {f"{name}{end}": x for end, x in ends.items() if math.isfinite(x)}
        return {name: self.ratio, **known}


def wide(samples: pd.DataFrame) -> pd.DataFrame:
    """Return seconds with a line for each process and round, and a column for each call."""
    return samples.pivot(index=["process", "round"], columns="call", values="seconds")


def intervals(
    samples: pd.DataFrame, pairs: Mapping[str, tuple[str, str]], among: int = 1
) -> dict[str, Interval]:
    """Divide times that were measured in the same rounds.

    A ratio is the median of the ratios of the single rounds. In one process its interval is
    between two of these ratios in order, by the binomial distribution, which is exact for the
    median of independent rounds whatever their distribution; the interval is wider than 95 %
    where the numbers do not come out even, and there is none of fewer than six rounds. Over
    several processes it is Student's t of the logarithms of their medians, with
    one standard deviation for all ratios of one kind (what is behind the last "/" of a name) if
    there are at least four, and otherwise for all.

    Args:
        samples: process, round, call and seconds.
        pairs: name of a ratio → the calls above and below the line.
        among: the ratios that a page compares; the simultaneous intervals hold for all of them
            together (Bonferroni).

    Returns:
        The ratios of those pairs that were measured in a common round.
    """
    times = wide(samples)
    logs: dict[str, pd.Series] = {}
    for name, (above, below) in pairs.items():
        if above in times and below in times:
            log = (times[above] / times[below]).dropna().map(math.log)
            if len(log):
                logs[name] = log
    levels = (LEVEL, 1 - (1 - LEVEL) / max(1, among))
    if samples["process"].nunique() == 1:
        return {name: _of_rounds(log.to_numpy(), levels) for name, log in logs.items()}
    medians = {name: log.groupby("process").median() for name, log in logs.items()}
    return _of_processes(medians, levels)


def _of_rounds(logs: np.ndarray, levels: Sequence[float]) -> Interval:
    n, ordered = len(logs), np.sort(logs)
    below = np.cumsum([math.comb(n, i) / 2**n for i in range(n + 1)])
    ends: list[float] = []
    for level in levels:
        cut = int(np.searchsorted(below, (1 - level) / 2))  # so many on each side lie outside
        ends += [ordered[cut - 1], ordered[n - cut]] if cut else [math.nan, math.nan]
    return Interval(math.exp(np.median(logs)), *(float(x) for x in np.exp(ends)))


def _of_processes(
    medians: Mapping[str, pd.Series], levels: Sequence[float]
) -> dict[str, Interval]:
    from scipy import stats  # not at the top: every job of a sweep would load it

    kinds = {name: name.rpartition("/")[2] for name in medians}
    found = {}
    for name, log in medians.items():
        alike = [x for other, x in medians.items() if kinds[other] == kinds[name] and len(x) > 1]
        if len(alike) < ALIKE:
            alike = [x for x in medians.values() if len(x) > 1]
        freedom = sum(len(x) - 1 for x in alike)
        middle, ends = log.mean(), list[float]()
        if freedom:
            squares = sum(((x - x.mean()) ** 2).sum() for x in alike)
            error = math.sqrt(squares / freedom / len(log))
            for level in levels:
                reach = stats.t.ppf((1 + level) / 2, freedom) * error
                ends += [middle - reach, middle + reach]
        found[name] = Interval(math.exp(middle), *(float(x) for x in np.exp(ends)))
    return found


def expand(rules: Iterable[Ratio], calls: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the pairs of `intervals` that ``rules`` mean, by ``part/name``.

    >>> expand([Ratio("st_vs_glow", "*/st", "glow/st")], ["finc/st", "glow/st"])
    {'finc/st_vs_glow': ('finc/st', 'glow/st')}
    """
    calls = list(calls)
    parts = dict.fromkeys(call.rpartition("/")[0] for call in calls)
    pairs = {}
    for rule in rules:
        for part in parts if "*" in rule.numerator else [rule.numerator.rpartition("/")[0]]:
            above, below = (x.replace("*", part) for x in (rule.numerator, rule.denominator))
            if above != below and above in calls and below in calls:
                pairs[f"{part}/{rule.name}" if part else rule.name] = above, below
    return pairs


def summaries(samples: pd.DataFrame) -> dict[str, Values]:
    """Return for each call a row's values: median and quartiles of its time."""
    found: dict[str, Values] = {}
    for call, seconds in samples.groupby("call", sort=False)["seconds"]:
        name = str(call).rpartition("/")[2]
        ends = {"_q25": 0.25, "": 0.5, "_q75": 0.75}
        found[str(call)] = {
            f"{name}{end}_s": float(seconds.quantile(q)) for end, q in ends.items()
        }
    return found
