"""What several seeds resolve: differences between methods, paired by seed, and table 2's."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from invconv.data import DATASETS
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.entries import Line


@dataclass(frozen=True)
class Difference:
    """A method's metric minus the baseline's: the mean over common seeds or images.

    error: its standard error.
    """

    mean: float
    error: float
    pairs: int

    def __str__(self) -> str:
        reach = self.reach()
        return f"{self.mean:+.4f} [{self.mean - reach:+.4f}, {self.mean + reach:+.4f}]"

    def reach(self, among: int = 1) -> float:
        """Half the 95 % interval by Student's t, widened for ``among`` comparisons at once.

        By Bonferroni: each of m intervals at 1 − 0.05/m, so that all of them hold together with
        at least 95 %.
        """
        return self._student(1 - 0.025 / among)

    def resolved(self, among: int = 1) -> bool:
        """Whether this interval excludes zero."""
        return abs(self.mean) > self.reach(among)

    def detectable(self, among: int = 1) -> float:
        """The smallest difference that would have been resolved with a probability of 80 %."""
        return self.reach(among) + self._student(0.8)

    def _student(self, probability: float) -> float:
        from scipy import stats  # not at the top: every job of a sweep would load it

        return float(stats.t.ppf(probability, self.pairs - 1)) * self.error


def paired_difference(ours: pd.DataFrame, theirs: pd.DataFrame, metric: str) -> Difference | None:
    """The difference between two sets of rows, paired by seed; None below two common seeds."""
    both = ours.set_index("seed")[metric] - theirs.set_index("seed")[metric]
    return mean_difference(both.dropna())


def mean_difference(difference: pd.Series) -> Difference | None:
    """The mean of paired differences; None below two pairs."""
    n = len(difference)
    return Difference(difference.mean(), difference.std() / n**0.5, n) if n > 1 else None


def data_title(name: str) -> str:
    """Return what a data set is called on a page."""
    return DATASETS[name].title if name in DATASETS else name


def called(row: pd.Series) -> str:
    """Return what a row is called in a sentence."""
    return f"{bl.title(row['method'])} on {data_title(row['dataset'])}"


def budget(row: pd.Series) -> dict[str, int]:
    """Return a row's levels, steps and width, and its training's steps and batch (0: unknown)."""
    found = json.loads(row["config"])["budget"]
    training = found.pop("training")
    return found | {"training": training["steps"], "batch": training.get("batch_size", 0)}


def ranking(rows: pd.DataFrame) -> Iterator[Line]:
    """Yield means over seeds, and differences to Glow paired by seed with their interval."""
    for group in _groups(rows):
        first = group.iloc[0]
        for name, members, difference in _methods(group):
            minus = en.Entry(en.ABSENT)
            if difference is not None:
                paired = (group["method"] == "glow") & group["seed"].isin(members["seed"])
                both = pd.concat([members, group[paired]])
                minus = en.over_rows(str(difference), both, "bpd")
            mean = f"{members['bpd'].mean():.3f} ± {members['bpd'].std():.3f}"
            yield {
                "data": data_title(first["dataset"]),
                "method": name,
                "seeds": str(len(members)),
                "bpd measured": en.over_rows(mean, members, "bpd"),
                "histogram": en.value(first, "histogram_bpd", en.bits),
                "minus Glow": minus,
                "steps": str(budget(first)["training"]),
                "machine": str(first["machine"]),
            }


def verdicts(rows: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yield what several seeds resolve, for each group of comparable rows, taken together.

    Keys: data and seeds; resolved and unresolved, method → difference to Glow; detectable, one
    that would have been seen for each unresolved method.
    """
    for group in _groups(rows):
        differences = {name: difference for name, _, difference in _methods(group) if difference}
        among = len(differences)
        unresolved = {name: d for name, d in differences.items() if not d.resolved(among)}
        yield {
            "data": data_title(group["dataset"].iloc[0]),
            "seeds": group["seed"].nunique(),
            "resolved": {name: d for name, d in differences.items() if d.resolved(among)},
            "unresolved": unresolved,
            "detectable": max((d.detectable(among) for d in unresolved.values()), default=0),
        }


def _groups(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The ok rows that may be compared: one setting but for method and seed, on one machine."""
    rows = rows[rows["status"] == "ok"]
    settings = rows["config"].map(lambda text: bl.setting(text, "method", "seed"))
    return [group for _, group in rows.groupby([settings, "machine"], sort=False)]


def _methods(group: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, Difference | None]]:
    """Name, rows, and difference to Glow of each method of a group."""
    glow = group[group["method"] == "glow"]
    options = group["config"].map(_options)
    for (method, chosen), members in group.groupby(["method", options], sort=False):
        name = bl.named(bl.title(str(method)), members.iloc[0])
        if options[group["method"] == method].nunique() > 1:
            name += f", {chosen or 'no options'}"
        difference = None if method == "glow" else paired_difference(members, glow, "bpd")
        yield name, members, difference


def _options(config: str) -> str:
    """The options of a row's method, in words."""
    method = json.loads(config).get("method")
    options = method["options"] if isinstance(method, dict) else {}
    return ", ".join(f"{name} = {value}" for name, value in sorted(options.items()))
