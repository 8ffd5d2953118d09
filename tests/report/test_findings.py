"""The sentence that each table's rows say, and which rows a reader sees first."""

import re

import pandas as pd
import pytest
from explorer_rows import many
from test_map import rows_of

from invconv.methods import method
from invconv.report.findings import extremes, latest, sentence, span
from invconv.tables.leaderboard import leaderboard
from invconv.tables.table import tables

NUMBER = re.compile(r"\d+\.\d+|\d+")


@pytest.mark.parametrize("table", tables().values(), ids=list(tables()))
def test_a_finding_is_one_of_the_rows(table):
    """It is said of rows with values, not of rows without, and changes with them."""
    rows = latest(pd.DataFrame(rows_of(table.name)), table.study)
    if table.name == "benchmark":
        rows = rows.assign(operation="inverse")
    said = table.finding(rows)
    assert NUMBER.search(said), said
    assert said.endswith(".") and "nan" not in said
    numeric = [name for name in rows.select_dtypes("number") if name not in ("n", "k", "seed")]
    assert table.finding(rows.assign(**{name: rows[name] * 7 for name in numeric})) != said
    if table.name != "trust":  # which is about what failed
        assert table.finding(rows.assign(status="error")) == ""


def test_the_finding_of_table_2_has_the_extremes_of_its_ratios():
    rows = many(600, commits=1)
    said = tables()["table2"].finding(rows)
    assert said == ""  # no interval is known
    rows = rows.assign(st_vs_glow_low=0.0, st_vs_glow_high=1.0, st_published_vs_glow=2.5)
    rows = rows.assign(st_published_vs_glow_low=2.0, st_published_vs_glow_high=3.0)
    ok = rows[rows["status"] == "ok"].sort_values("st_vs_glow")
    said = tables()["table2"].finding(rows)
    for row in (ok.iloc[0], ok.iloc[-1]):
        assert f"{row['st_vs_glow']:#.2g} ({method(row['method']).title} on" in said
    assert "2.5" in said


def _measured(machine, preset, cells, date, **more):
    return [
        {
            "cell": f"{preset}-{cell}",
            "machine": machine,
            "commit": "c",
            "preset": preset,
            "status": "ok",
            "date": date,
            **more,
        }
        for cell in cells
    ]


def test_the_newest_complete_measurement_comes_first():
    old = _measured("old", "default", "abc", "2026-01-01")
    new = _measured("new", "default", "abc", "2026-01-02")
    begun = _measured("begun", "default", "ab", "2026-01-03")
    study = _measured("old", "full", "abc", "2025-01-01")
    given = _measured("someone: new", "default", "abc", "2026-01-04")
    rows = pd.DataFrame([*old, *new, *begun, *study, *given])
    assert set(latest(rows)["machine"]) == {"new"}
    assert set(latest(rows, "full")["preset"]) == {"full"}
    assert set(latest(rows, "nowhere")["machine"]) == {"new"}
    failed = rows.assign(status=rows["status"].where(rows["machine"] != "new", "oom"))
    assert set(latest(failed)["machine"]) == {"old"}
    assert set(latest(pd.DataFrame(given))["machine"]) == {"someone: new"}
    assert len(latest(pd.DataFrame(begun).drop(columns="preset"))) == 2
    assert latest(rows[:0]).empty


def test_ratios_without_valid_samples_and_noisy_ones_do_not_count():
    rows = pd.DataFrame(
        {
            "status": ["ok", "ok", "ok", "noisy", "ok"],
            "cell": list("abcde"),
            "machine": "m",
            "commit": "c",
            "st_vs_glow": [2.0, 3.0, 0.1, 0.2, None],
            "samples_not_finite": [0, 0, 5, 0, 0],
        }
    )
    rows = rows.assign(st_vs_glow_low=rows["st_vs_glow"], st_vs_glow_high=rows["st_vs_glow"])
    assert extremes(rows, ["st_vs_*"], lambda row: row["cell"]) == "2.0 (a) to 3.0 (b)"
    said = sentence("{} times.", "st_vs_glow", called=lambda row: row["cell"])
    assert said(rows) == "2.0 (a) to 3.0 (b) times."
    assert said(rows[2:]) == ""
    assert span([(2.0, "a")]) == "2.0 (a)"


def test_the_leaderboard_has_the_bits_of_the_ranking():
    frames = {name: pd.DataFrame(rows_of(name)) for name in ("table2", "ranking")}
    frames["ranking"] = frames["ranking"][frames["ranking"]["preset"] == "ranked"]
    frames["table2"]["dataset"] = frames["table2"]["dataset"].replace("digits", "photographs")
    frames["table2"] = frames["table2"][frames["table2"]["preset"] == "default"]
    board = leaderboard(frames)
    names = [column["name"] for column in board["columns"]]
    lines = {
        line[1]: dict(zip(names, line, strict=True)) for line in zip(*board["values"], strict=True)
    }
    bpd = frames["ranking"].pivot_table("bpd", "seed", "method")
    for name in bpd:
        assert lines[method(name).title]["bpd"] == pytest.approx(bpd[name].mean())
    finc = lines["FInC"]
    difference = (bpd["finc"] - bpd["glow"]).mean()
    assert finc["bpd_minus_glow"] == pytest.approx(difference)
    assert finc["bpd_minus_glow_low"] < difference < finc["bpd_minus_glow_high"]
    timed = frames["table2"].set_index("method")["st_vs_glow"].dropna()
    assert finc["st_vs_glow"] == pytest.approx(timed["finc"])
    assert lines["Glow"]["st_vs_glow"] == 1
    assert lines["CInC"]["st_s"] is None
    (note,) = board["notes"].values()
    assert "the ranking, 2 seeds" in note
