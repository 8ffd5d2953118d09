"""What several seeds of table 2 resolve: differences to Glow, paired by seed."""

import json
from collections.abc import Iterator

import pandas as pd

from invconv.data import DATASETS
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.entries import Grid
from invconv.report.seeds import Difference, paired_difference


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


def ranking(rows: pd.DataFrame) -> Grid:
    """Return means over seeds, and differences to Glow paired by seed with their interval."""
    lines = []
    for group in _groups(rows):
        first, glow = group.iloc[0], group[group["method"] == "glow"]
        for name, members, difference in _methods(group):
            minus = en.Entry(en.ABSENT)
            if difference is not None:
                both = pd.concat([members, glow[glow["seed"].isin(members["seed"])]])
                minus = en.over_rows(str(difference), both, "bpd")
            mean = f"{members['bpd'].mean():.3f} ± {members['bpd'].std():.3f}"
            lines.append(
                {
                    "data": data_title(first["dataset"]),
                    "method": name,
                    "seeds": str(len(members)),
                    "bpd measured": en.over_rows(mean, members, "bpd"),
                    "histogram": en.value(first, "histogram_bpd", en.bits),
                    "minus Glow": minus,
                    "steps": str(budget(first)["training"]),
                    "machine": str(first["machine"]),
                }
            )
    return Grid(lines)


def verdicts(rows: pd.DataFrame) -> list[dict[str, object]]:
    """Return what several seeds resolve, for each group of comparable rows, taken together.

    Keys: data and seeds; resolved, method → "better" or "worse" than Glow; unresolved, the other
    methods; detectable, the difference that would have been seen for each of them.
    """
    found: list[dict[str, object]] = []
    for group in _groups(rows):
        differences = {name: difference for name, _, difference in _methods(group) if difference}
        among = len(differences)
        unresolved = {name: d for name, d in differences.items() if not d.resolved(among)}
        sides = {name: "better" if d.mean < 0 else "worse" for name, d in differences.items()}
        found.append(
            {
                "data": data_title(group["dataset"].iloc[0]),
                "seeds": group["seed"].nunique(),
                "resolved": {name: sides[name] for name in sides if name not in unresolved},
                "unresolved": list(unresolved),
                "detectable": max((d.detectable(among) for d in unresolved.values()), default=0),
            }
        )
    return found


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
