"""The map from every number of a table to its row and field, and what one row changes."""

import json
import re

import pandas as pd
import pytest

from invconv.__main__ import main
from invconv.report.document import MAP
from invconv.rows import read_table
from invconv.rows.provenance import ROOT
from invconv.tables import figure4, readme, scaling, table3, table4
from invconv.tables.accuracy import MEASURES
from invconv.tables.table import tables

TABLES = tables()
PAGES = [*TABLES, "README"]
COMMON = {
    "status": "ok",
    "reason": "",
    "device": "cpu",
    "machine": "m",
    "threads": 2,
    "torch": "2",
    "python": "3",
    "commit": "abc",
    "dirty": False,
    "date": "2026-01-01",
}


def row(table, cell, labels, values, **config):
    budget = {"levels": 3, "steps": 32, "width": 512, "training": {"steps": 7}}
    shared = {"budget": budget, **config}
    return COMMON | {
        "cell": cell,
        "table": table,
        **labels,
        **values,
        "config": json.dumps(shared),
    }


def seconds(*names, start=0.5):
    return {
        f"{name}{part}_s": start * (1 + i) + 0.01 * j
        for i, name in enumerate(names)
        for j, part in enumerate(("", "_q25", "_q75"))
    }


def rows_of(table):
    if table == "README":
        return sorted(rows_of("table2"), key=lambda row: row["preset"] == "default")
    if table == "table2":
        places = [("default", "digits"), ("paper", "cifar10")]
        facts = {"bpd": 3.0, "bpd_interval": 0.1, "histogram_bpd": 4.0, "parameters": 1000.0}
        facts |= {"free_parameters": 900.0, "round_trip_error": 1e-3, "timed_images": 100.0}
        facts |= {"aa_spread": 0.02, "train_step_extra_bytes": 5e7, "dequantization": "uniform"}
        times = seconds("ft", "st", "train_step", "st_published")
        cells = [(*place, method, 0) for place in places for method in ("glow", "finc")]
        ranked = [
            ("embedded_long", "digits", m, seed) for m in ("glow", "finc") for seed in (0, 1)
        ]
        return [
            row("table2", "-".join(map(str, cell)), dict(zip(names, cell, strict=True)), values)
            for names in [("preset", "dataset", "method", "seed")]
            for cell in [*ranked, *cells]
            for values in [
                facts | times if cell in cells else facts | {"bpd": 3.0 + 0.1 * cell[3]}
            ]
        ]
    if table == "table1":
        facts = {"stored": 1234.0, "free": 1200.0, "dependent_steps": 63.0, "exact": "exact"}
        facts |= {"inverse_operations": 9999.0, "log_det_operations": 5.0}
        facts |= {"round_trip_error": 1e-16}
        size = {"channels": 12, "n": 32, "k": 3}
        labels = [{"method": method, **size} for method in ("glow", "finc")]
        return [row("table1", x["method"], x, facts, method={"options": {}}) for x in labels]
    if table == "scaling":
        series = [*scaling.SERIES, "fresh"]
        facts = {"aa_spread": 0.02, "gflops": 300.0, "fastest_torch_forward": "four fresh"}
        facts |= {f"{name}_extra_bytes": 2e6 for name in scaling.SERIES} | {"input_bytes": 1e6}
        points = {"n8": (8, 3), "n16": (16, 3), "n32": (32, 3), "k2": (32, 2), "k5": (32, 5)}
        return [
            row(
                "scaling",
                point,
                {"point": point, "channels": 12, "batch": 100, "n": n, "k": k},
                facts | seconds(*series, start=0.001 * n * k),
                point=point,
            )
            for point, (n, k) in points.items()
        ]
    if table == "gpu":
        names = ("inverse", "forward", "torch_forward", "pointwise", "inverse_eager", "wavefront")
        facts = seconds(*names, "diagonal_channel", "diagonal_channel_4", start=1e-4)
        facts |= {"aa_spread": 0.02, "inverse_bytes_per_s": 1e12, "inverse_flop_per_s": 1e12}
        place = {"part": "layer", "channels": 12, "n": 32, "batch": 100, "tf32_block": False}
        layer = row(
            "gpu", "layer", {"kind": "finc", **place}, facts | {"fastest_torch_forward": "a"}
        )
        chip = row(
            "gpu", "chip", {"part": "machine", "tf32_block": False}, {"copy_bytes_per_s": 3e12}
        )
        facts = seconds(
            "ft", "st", "train_step", "graph_ft", "graph_st", "convolutions", start=1e-2
        )
        facts |= {"graph_aa_spread": 0.01, "round_trip_error": 1e-5, "parameters": 9e4}
        place = {"part": "model", "batch": 100, "tf32_block": False}
        models = [row("gpu", m, {"kind": m, **place}, facts) for m in ("glow", "finc")]
        return [layer, *models, chip, models.pop()]
    if table == "faults":
        facts = {"cells": 16.0, "attempts": 27.0, "launches": 7.0, "lost": 1.0, "repeated": 2.0}
        facts |= {"kills: scancel": 3.0, "kills: SIGKILL to a cell": 2.0, "other_bpd": 1.0}
        jobs = {"trivial_cells": 200, "side_by_side": 4, "slurm_s": 900.0, "basic_s": 100.0}
        facts |= {"last_kill_to_table_s": 155.6}
        return [row("faults", "overhead", {}, jobs), row("faults", "faults", {}, facts)]
    if table == "benchmark":
        labels = {"operation": "solve", "layer": "solver", "channels": 12, "batch": 100, "k": 3}
        facts = {"residual": 1e-6, "solver": "compiled"}
        return [
            row(
                "benchmark",
                f"{method}-{n}",
                {"method": method, "n": n, **labels},
                facts | seconds("time", start=0.001 * n) | {"residual": 1e-9 * n},
            )
            for method in ("compiled", "wavefront")
            for n in (8, 16)
        ]
    if table == "trust":
        counts = {"tests": 9.0, "passed": 8.0, "failed": 1.0, "skipped": 2.0, "cases": 70.0}
        counts |= {"suite_s": 600.0}
        lines = {"lines": 100.0, "covered_lines": 90.0, "branches": 40.0}
        finding = {"found_by": "chance", "what": "a bug", "guard": "test_it"}
        parts = [
            ("run", "full", counts | {"tested_commit": "abc"}, {}),
            ("finding", "01", {}, finding),
            ("cases", "layers", counts, {}),
            ("cases", "solvers", counts, {}),
            ("coverage", "invconv/layers", lines | {"covered_branches": 30.0}, {}),
            ("coverage", "invconv/flows", lines | {"covered_branches": 40.0}, {}),
        ]
        return [
            row("trust", f"{part}-{name}", {"part": part, "name": name, **labels}, values)
            for part, name, values, labels in parts
        ]
    if table == "table3":
        facts = {"parameters": 1000.0, "aa_spread": 0.02, "round_trip_error": 1e-3}
        facts |= seconds("ft", "st", "st_published")
        labels = {"images": 100, "width": 512}
        return [row("table3", name, {"model": name, **labels}, facts) for name in table3.MODELS]
    if table == "table4":
        facts = {"parameters": 1000.0, "aa_spread": 0.02}
        facts |= seconds("ours", "algorithm_1", "algorithm_2")
        return [
            row(
                "table4", f"{size}-{images}", {"size": size, "images": images, "width": 512}, facts
            )
            for size in table4.MODELS
            for images in table4.IMAGES
        ]
    if table == "figure4":
        times = seconds(*(f"st_{batch}" for batch in (*figure4.BATCHES, figure4.RGB_BATCH)))
        times |= {f"st_published_{batch}_s": 9.0 for batch in figure4.BATCHES}
        return [
            row("figure4", f"{m}-{s}", {"method": m, "size": s, "width": 512}, times)
            for m in figure4.METHODS
            for s in ("16x16", "rgb-8x8")
        ]
    facts = {f"{p}_{name}": 0.1 for p in ("n8", "n32", "k5", "s0.1") for name in MEASURES}
    return [
        row("accuracy", method, {"method": method, "channels": 12}, facts)
        for method in ("glow", "finc")
    ]


def page(name, rows):
    """The page of a table, or what the README shows of table 2."""
    frame = pd.DataFrame(rows)
    if name != "README":
        return TABLES[name].page(frame)
    empty = read_table(ROOT / "nowhere.csv")
    return readme.page(dict.fromkeys(TABLES, empty) | {"table2": frame})


def places(document):
    """Every entry of a page's tables by its place."""
    return {
        (i, j, column): entry
        for i, grid in enumerate(document.grids())
        for j, line in enumerate(grid.frame.to_dict("records"))
        for column, entry in line.items()
    }


@pytest.mark.parametrize("table", PAGES)
def test_exactly_the_cells_of_a_changed_row_change(table):
    rows = rows_of(table)
    before = places(page(table, rows))
    changed = rows[-1]
    numbers = [name for name, value in changed.items() if isinstance(value, float)]
    shown = set()
    for i, field in enumerate(numbers):
        other = {**changed, field: changed[field] * (3.7 + 0.31 * i)}
        after = places(page(table, [*rows[:-1], other]))
        assert before.keys() == after.keys()
        differ = {place for place in before if before[place].text != after[place].text}
        mapped = {
            place
            for place, entry in before.items()
            if any((s.cell, s.field) == (changed["cell"], field) for s in entry.sources)
        }
        marks = field == "aa_spread" or re.search("_q[27]5_s$", field)
        bold = {place for place in mapped if marks and re.search("[×÷]", place[2])}
        assert mapped - bold <= differ <= mapped, field
        shown |= mapped
    assert shown


NAMES = (
    "model|data|method|size|batch|images|steps|device|solver|cell|threads|torch|python|commit|date"
    "|L, K|point|layer|C, n|seeds|theory|what|how|machine"
)


def without_source(document):
    """The entries with a digit that say neither row nor publication."""
    return [
        (column, entry.text)
        for (_, _, column), entry in places(document).items()
        if re.search(r"\d", entry.text) and not re.match(NAMES, column) and not entry.sources
    ]


@pytest.mark.parametrize("table", PAGES)
def test_every_number_has_a_source(table):
    document = page(table, rows_of(table))
    assert places(document)
    assert without_source(document) == []


def test_the_map_says_where_a_number_comes_from(tmp_path):
    (tmp_path / "data").mkdir()
    rows = pd.DataFrame(rows_of("table4"))
    rows.to_csv(tmp_path / "data" / "table4.csv", index=False)
    folder = tmp_path / "map"
    assert main(["report", "--results", str(tmp_path), "--map", str(folder)]) == 0
    found = pd.read_csv(folder / "table4.csv")
    assert list(found.columns) == MAP
    assert len(found) == len(TABLES["table4"].page(rows).map())
    ours = found[(found["line"] == 1) & (found["column"] == "ours")]
    assert set(ours["field"]) == {"ours_s", "ours_q25_s", "ours_q75_s"}
    assert set(ours["cell"]) == {"mnist-1"}
    stated = found[(found["line"] == 1) & (found["column"] == "algorithm 1 published")]
    assert stated["published"].str.contains("Table 4").all()


@pytest.mark.parametrize("table", TABLES)
def test_no_rows_one_failed_row_two_machines_and_two_commits(table):
    assert "missing" in TABLES[table].page(read_table(ROOT / "nowhere.csv")).markdown()
    rows = rows_of(table)
    failed = {k: v for k, v in rows[-1].items() if not isinstance(v, float)}
    failed |= {"status": "oom", "reason": "OutOfMemoryError: too large"}
    text = page(table, [failed]).markdown()
    assert re.search(rf"`{failed['cell']}`.*: oom: OutOfMemoryError: too large", text)
    other = [{**r, "machine": "elsewhere", "device": "another"} for r in rows]
    newer = [{**rows[0], "cell": "newer", "commit": "fedcba98", "date": "2027-01-01"}, *rows[1:]]
    text = page(table, [*newer, *other]).markdown()
    assert "another" in text
    assert "fedcba98" in text
