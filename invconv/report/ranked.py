"""The section of table 2 that ranks: several seeds, differences to Glow, what they resolve."""

import json
from collections.abc import Iterator, Mapping

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages
from invconv.report.names import EMBEDDED, METHODS
from invconv.report.seeds import Difference, paired_difference, setting


def _options(config: str) -> str:
    """The options of a row's method, in words."""
    method = json.loads(config).get("method")
    options = method.get("options") or {} if isinstance(method, dict) else {}
    return ", ".join(f"{name} = {value}" for name, value in sorted(options.items()))


def seeds_section(rows: pd.DataFrame) -> list[str]:
    """Means over seeds, and differences to Glow paired by seed with their interval."""
    rows = rows[rows["status"] == "ok"] if len(rows) else rows
    if rows.empty:
        return [
            "missing: no such run yet. `python reproductions/table2.py -m preset=embedded_long`."
        ]
    lines, sentences = [], []
    for keys, group in _groups(rows):
        first = group.iloc[0]
        config = json.loads(first["config"])
        title = EMBEDDED.get(first["dataset"], first["dataset"])
        for name, members, difference in _methods(group):
            mean = f"{members['bpd'].mean():.3f} ± {members['bpd'].std():.3f}"
            minus = md.ABSENT
            if difference is not None:
                glow = group[group["method"] == "glow"]
                both = pd.concat([members, glow[glow["seed"].isin(members["seed"])]])
                interval = f"[{difference.low:+.4f}, {difference.high:+.4f}]"
                minus = md.over_rows(f"{difference.mean:+.4f} {interval}", both, "bpd")
            lines.append(
                {
                    "data": title,
                    "method": name,
                    "seeds": str(len(members)),
                    "bpd measured": md.over_rows(mean, members, "bpd"),
                    "histogram": md.value(first, "histogram_bpd", md.bits),
                    "minus Glow": minus,
                    "steps": str(config["budget"]["training"]["steps"]),
                    "machine": str(keys[1]),
                }
            )
        sentences += verdict(group)
    absent = [title for name, title in EMBEDDED.items() if name not in set(rows["dataset"])]
    if absent:
        sentences.append(f"Missing: no such run on {', '.join(absent)} yet.")
    return [
        *(pages.origin(block) for _, block in rows.groupby("machine")),
        "bpd: mean ± standard deviation over the seeds. minus Glow: mean difference to Glow with "
        "the same seed, [95 % interval by Student's t]. In the sentences below the table the "
        "intervals are widened for as many comparisons as are made at once (Bonferroni).",
        md.table(lines),
        " ".join(sentences),
    ]


def _groups(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows that may be compared: one setting but for method and seed, on one machine."""
    settings = rows["config"].map(lambda text: setting(text, "method", "seed"))
    for (text, machine), group in rows.groupby([settings, "machine"], sort=False):
        yield (str(text), str(machine)), group


def _methods(group: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, Difference | None]]:
    """Name, rows, and difference to Glow of each method of a group."""
    glow = group[group["method"] == "glow"]
    options = group["config"].map(_options)
    for (method, chosen), members in group.groupby(["method", options], sort=False):
        name = pages.named(METHODS.get(str(method), str(method)), members.iloc[0])
        if options[group["method"] == method].nunique() > 1:
            name += f", {chosen or 'no options'}"
        yield (
            name,
            members,
            None if method == "glow" else paired_difference(members, glow, "bpd"),
        )


def verdict(rows: pd.DataFrame) -> list[str]:
    """What several seeds resolve, a sentence or two for each group of comparable rows."""
    rows = rows[rows["status"] == "ok"] if len(rows) else rows
    sentences = []
    for _, group in _groups(rows) if len(rows) else ():
        title = EMBEDDED.get(group["dataset"].iloc[0], group["dataset"].iloc[0])
        found = {name: difference for name, _, difference in _methods(group) if difference}
        sentences += _verdicts(f"{title}, {group['seed'].nunique()} seeds", found)
    return sentences


def _verdicts(data: str, differences: Mapping[str, Difference]) -> list[str]:
    """Which methods differ from Glow, all comparisons taken together, and which do not."""
    among = len(differences)
    sentences, unresolved = [], []
    for name, difference in differences.items():
        if difference.resolved(among):
            better = "better" if difference.mean < 0 else "worse"
            sentences.append(f"On {data}: {name} is {better} than Glow in bits per dimension.")
        else:
            unresolved.append(name)
    if unresolved:
        names = ", ".join(unresolved)
        seen = max(differences[name].detectable(among) for name in unresolved)
        sentences.append(
            f"On {data}: these seeds show differences from Glow of {seen:.3f} bits per dimension "
            f"and more (80 % power, all comparisons together), and show none for {names}: "
            "whether smaller ones exist they cannot tell."
        )
    return sentences
