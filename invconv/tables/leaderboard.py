"""The explorer's leaderboard: every method on every data set, beside Glow."""

from collections.abc import Mapping

import pandas as pd

from invconv.methods import methods
from invconv.report import blocks as bl
from invconv.report.comparison import Comparison
from invconv.report.explorer.tables import Shown, grid
from invconv.report.findings import latest
from invconv.report.naming import budget, data_title
from invconv.rows import block_of
from invconv.rows.columns import Bits, Ratio, Seconds
from invconv.tables import ranking_page, table2_page
from invconv.tables.relative import REFERENCE

TIMES = ("st", "st_published", "ft")
BITS = "bpd_minus_glow"
SHAPE = Shown(
    name="leaderboard",
    title="Every method beside Glow",
    labels={"data": "data", "method": "method"},
    columns=(Seconds(" ".join(TIMES)), Ratio(f"*_vs_glow {BITS}"), Bits("bpd")),
)
ENDS = ("", "_low", "_high")
TITLES = {"st_s": "ST", "st_published_s": "paper's ST", "ft_s": "FT", BITS: "bpd − Glow"}
TITLES |= {f"{time}_vs_glow": f"{TITLES[f'{time}_s']} ÷ Glow" for time in TIMES}
NAMES = ["data", "method"]
for time in TIMES:
    NAMES += [f"{time}_s", *(f"{time}_vs_glow{end}" for end in ENDS)]
NAMES += ["bpd", *(f"{BITS}{end}" for end in ENDS)]


def leaderboard(frames: Mapping[str, pd.DataFrame]) -> dict[str, object]:
    """Return a line for each data set and method, and where the numbers of each data set are from.

    Times, and their ratios with 95 % intervals, are those of table 2, of one machine and preset.
    Bits per dimension are the ranking's where it has the data set, with the simultaneous 95 %
    intervals of the differences; otherwise those of table 2's single trainings.
    """
    times = _timed(latest(frames["table2"]))
    lines = list[dict[str, object]]()
    notes = dict[str, str]()
    trained = latest(frames["table2"])
    studies = _studies(frames["ranking"])
    for data in dict.fromkeys([*times["dataset"], *studies]):
        timed = times[times["dataset"] == data]
        if data in studies:
            bits, bits_origin = _ranked(studies[data])
        else:
            bits, bits_origin = _single(trained[trained["dataset"] == data])
        names = {*timed["method"], *bits}
        for name in [*(n for n in methods() if n in names), *sorted(names - {*methods()})]:
            row = bl.only(timed, method=name)
            cells = [] if row is None else row.reindex(NAMES).dropna().items()
            line = {str(column): value for column, value in cells}
            place = {"data": data_title(data), "method": bl.title(name)}
            lines.append(line | bits.get(name, {}) | place)
        notes[data_title(data)] = " ".join(filter(None, [_origin(timed), bits_origin]))
    board = grid(pd.DataFrame(lines, columns=NAMES), NAMES, SHAPE)
    columns = [
        {**one, "title": TITLES.get(name, name)}
        for one, name in zip(board["columns"], NAMES, strict=True)
    ]
    return {"columns": columns, "values": board["values"], "notes": notes}


def _timed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each data set's newest block; without the sampling times of no samples."""
    rows = bl.with_columns(rows, ["ft_s", "dataset", "method"])
    timed = rows[table2_page.is_timing(rows) & (rows["status"] == "ok")].copy()
    if len(timed):
        blocks = timed.assign(block=block_of(timed["cell"])).sort_values("date", kind="stable")
        last = blocks.groupby("dataset")["block"].transform("last")
        timed = timed[blocks["block"].eq(last).reindex(timed.index)]
    if "samples_not_finite" in timed:
        sampling = [name for name in map(str, timed) if name.startswith("st_")]
        timed.loc[timed["samples_not_finite"] > 0, sampling] = float("nan")
    ratios = [f"{time}_vs_glow" for time in ("st", "ft") if f"{time}_vs_glow" in timed]
    timed.loc[timed["method"] == REFERENCE, ratios] = 1.0
    return timed


def _origin(rows: pd.DataFrame) -> str:
    """Where times are from, in a sentence."""
    if rows.empty:
        return ""
    first = rows.iloc[0]
    commits = ", ".join(sorted(set(rows["commit"].astype(str))))
    return (
        f"Times: {first['timed_images']:.0f} images on {first['machine']}, "
        f"preset {first['preset']}, commit {commits}."
    )


def _studies(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    groups = ranking_page.groups(rows, ranking_page.STUDY)
    return {str(group["dataset"].iloc[0]): group for group in groups}


def _ranked(group: pd.DataFrame) -> tuple[dict[str, dict[str, object]], str]:
    """Mean bits per dimension by method with the differences to Glow, and what they are of."""
    table = ranking_page.of_seeds(group)
    bits: dict[str, dict[str, object]] = {str(n): {"bpd": x} for n, x in table.mean().items()}
    if ranking_page.CONTROL in table and min(table.dropna().shape) > 1:
        for name, difference in Comparison(table, ranking_page.CONTROL).to_control.items():
            low, high = difference.mean - difference.reach, difference.mean + difference.reach
            bits[name] |= {BITS: difference.mean, f"{BITS}_low": low, f"{BITS}_high": high}
    steps = budget(group.iloc[0])["training"]
    return bits, f"Bits per dimension: the ranking, {len(table)} seeds, {steps:,} steps."


def _single(rows: pd.DataFrame) -> tuple[dict[str, dict[str, object]], str]:
    """Bits per dimension of single trainings by method, and that they rank nothing."""
    rows = rows[(rows["status"] == "ok") & rows["bpd"].notna()] if "bpd" in rows else rows[:0]
    if rows.empty:
        return {}, ""
    bits = {row["method"]: {"bpd": row["bpd"]} for _, row in rows.iterrows()}
    steps, seeds = budget(rows.iloc[0])["training"], rows["seed"].nunique()
    budget_words = f"{seeds} seed{'s' if seeds > 1 else ''}, {steps:,} steps"
    return bits, f"These bits per dimension are not comparable: {budget_words}."
