"""Differences between methods, paired by seed."""

import json
import math
from dataclasses import dataclass

import pandas as pd

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A method's metric minus the baseline's, over common seeds or images.

    Attributes:
        mean: of the differences.
        low, high: the 95 % interval by Student's t.
        pairs: how many.
    """

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def resolved(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


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
    from scipy import stats  # not at the top: every job of a sweep would load it

    mean = float(difference.mean())
    error = float(difference.std(ddof=1)) / math.sqrt(n)
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * error
    return Difference(mean, mean - reach, mean + reach, n)


def setting(config: str, *apart: str) -> str:
    """What rows must share to be compared: the configuration less the keys in ``apart``."""
    kept = {key: value for key, value in json.loads(config).items() if key not in apart}
    return json.dumps(kept, sort_keys=True)
