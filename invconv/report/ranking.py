"""What several seeds of table 2 resolve: differences to Glow, paired by seed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from invconv.data import DATASETS
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.entries import Grid
from invconv.report.seeds import Difference, paired_difference


@dataclass
class Verdict:
    """Which methods differ from Glow on one data set, all comparisons taken together.

    Attributes:
        data: its title.
        seeds: how many.
        resolved: method → "better" or "worse".
        unresolved: the other methods.
        detectable: the difference that would have been seen for each of them.
    """

    data: str
    seeds: int
    resolved: dict[str, str] = field(default_factory=dict)
    unresolved: list[str] = field(default_factory=list)
    detectable: float = 0


def data_title(name: str) -> str:
    """Return what a data set is called on a page."""
    return DATASETS[name].title if name in DATASETS else name


def ranking(rows: pd.DataFrame) -> Grid:
    """Return means over seeds, and differences to Glow paired by seed with their interval."""
    lines = []
    for group in _groups(rows):
        first = group.iloc[0]
        for name, members, difference in _methods(group):
            minus = en.Entry(en.ABSENT)
            if difference is not None:
                glow = group[group["method"] == "glow"]
                both = pd.concat([members, glow[glow["seed"].isin(members["seed"])]])
                interval = f"[{difference.low:+.4f}, {difference.high:+.4f}]"
                minus = en.over_rows(f"{difference.mean:+.4f} {interval}", both, "bpd")
            mean = f"{members['bpd'].mean():.3f} ± {members['bpd'].std():.3f}"
            lines.append(
                {
                    "data": data_title(first["dataset"]),
                    "method": name,
                    "seeds": str(len(members)),
                    "bpd measured": en.over_rows(mean, members, "bpd"),
                    "histogram": en.value(first, "histogram_bpd", en.bits),
                    "minus Glow": minus,
                    "steps": str(json.loads(first["config"])["budget"]["training"]["steps"]),
                    "machine": str(first["machine"]),
                }
            )
    return Grid(lines)


def verdicts(rows: pd.DataFrame) -> list[Verdict]:
    """Return what several seeds resolve, for each group of comparable rows."""
    found = []
    for group in _groups(rows):
        differences = {name: difference for name, _, difference in _methods(group) if difference}
        among = len(differences)
        verdict = Verdict(data_title(group["dataset"].iloc[0]), group["seed"].nunique())
        for name, difference in differences.items():
            if difference.resolved(among):
                verdict.resolved[name] = "better" if difference.mean < 0 else "worse"
            else:
                verdict.unresolved.append(name)
                verdict.detectable = max(verdict.detectable, difference.detectable(among))
        found.append(verdict)
    return found


def _groups(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The ok rows that may be compared: one setting but for method and seed, on one machine."""
    if rows.empty:
        return []
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
    options = method.get("options") or {} if isinstance(method, dict) else {}
    return ", ".join(f"{name} = {value}" for name, value in sorted(options.items()))
