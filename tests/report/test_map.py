"""The map from every number of a table to its row and field, and what one row changes."""

import json
import re

import pandas as pd
import pytest

from invconv.__main__ import main
from invconv.bench.ladder import RUNGS
from invconv.report.document import MAP
from invconv.rows import read_table
from invconv.rows.provenance import ROOT
from invconv.tables import (
    figure4,
    ladder,
    memory,
    memory_page,
    readme,
    scaling_page,
    table3,
    table4,
)
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


def ratios(*names, start=0.8):
    """Each with its interval, and the one of all ratios together."""
    return {
        f"{name}{end}": start * (1 + 0.1 * i) + shift
        for i, name in enumerate(names)
        for end, shift in (("", 0), ("_low", -0.02), ("_high", 0.02), ("_low_all", -0.05))
    }


BLOCK = {"processes": 3.0, "rounds": 20.0, "compared": 40.0, "foreign_cpu": 0.01}
"""What every row has that was timed in a block."""


def of_table2():
    """Rows of each data set: bits per dimension, then times in one block."""
    places = [("default", "digits"), ("paper", "cifar10")]
    facts = {"histogram_bpd": 4.0, "parameters": 1000.0, "free_parameters": 900.0}
    facts |= {"round_trip_error": 1e-3, "dequantization": "uniform"}
    trained = facts | {"bpd": 3.0, "bpd_interval": 0.1}
    moments = ("start", "middle", "end")
    trained |= {f"inverse_steps_{when}": 2.0 + i for i, when in enumerate(moments)}
    trained |= {f"contraction_{when}": 0.1 + i for i, when in enumerate(moments)}
    timed = facts | BLOCK | {"timed_images": 100.0, "train_step_extra_bytes": 5e7}
    timed |= seconds("ft", "ft_cold", "st", "train_step", "st_published")
    timed |= ratios("ft_vs_glow", "st_vs_glow", "train_step_vs_glow", "st_published_vs_glow")
    timed |= ratios("st_vs_ft", "ft_cold_vs_ft", "st_published_vs_st", start=2.0)
    twins = ratios("aa_ft", "aa_st", start=0.99)

    def one(preset, dataset, method, seed, values, block=False):
        labels = {"preset": preset, "dataset": dataset, "method": method, "seed": seed}
        name = f"times-s0/{method}" if block else f"{method}-s{seed}"
        return row("table2", f"{preset}-{dataset}-{name}", labels, values)

    return [
        *(one(*place, m, 0, trained) for place in places for m in ("glow", "finc")),
        *(
            one(*place, m, 0, timed | (twins if m == "glow" else {}), block=True)
            for place in places
            for m in ("glow", "finc")
        ),
    ]


TRAINED = {"bpd_interval": 0.1, "bpd_draws_sd": 0.001, "histogram_bpd": 4.0, "epochs": 1.0}
TRAINED |= {"histogram_all_bpd": 5.0, "noise_draws": 16.0, "parameters": 1000.0}
TRAINED |= {"duration_s": 60.0}


def of_ranking():
    """Rows of two seeds, and of one that was trained longer."""
    bits = {"glow": (3.0, 3.12), "finc": (2.9, 3.0), "cinc": (2.95, 3.1)}
    found = []
    for preset, dataset in (("ranked", "photographs"), ("long", "photographs")):
        labels = {"preset": preset, "dataset": dataset}
        found += [
            row(
                "ranking",
                f"{preset}-{name}-s{seed}",
                {**labels, "method": name, "seed": seed},
                {**TRAINED, "bpd": bpd - 0.1 * (preset == "long")},
            )
            for name, both in bits.items()
            for seed, bpd in enumerate(both[:1] if preset == "long" else both)
        ]
    return found


def of_coupling_free():
    """Rows of two kernel sizes and of a method without, of two seeds, and of longer trainings."""
    places = [("grid", "glow", None), ("grid", "finc", 3), ("grid", "finc", 5)]
    places += [("grid", "cinc", 3), ("long", "finc", 3), ("controls", "glow", None)]
    places += [("controls", "finc", 3)]
    return [
        row(
            "coupling_free",
            f"{preset}-{name}-k{k}-s{seed}",
            {
                "preset": preset,
                "dataset": "mnist_permuted" if preset == "controls" else "mnist",
                "method": name,
                "k": k,
                "seed": seed,
            },
            {**TRAINED, "bpd": 3.0 - 0.01 * i + 0.1 * seed + 0.003 * i * seed},
        )
        for i, (preset, name, k) in enumerate(places)
        for seed in ((0,) if preset == "controls" else (0, 1))
    ]


def of_depth():
    """Rows of two trained depths, of a published size, and of the failing weight."""
    errors = {
        f"{what}_{name}_{step}": 1e-6 * (1 + step) * (1 + len(what))
        for what in ("images", "latents")
        for name in ("float32", "float64")
        for step in (0, 100)
    }
    labels = {"preset": "trained", "method": "finc", "variant": "", "levels": 2}
    found = [
        row(
            "depth",
            f"train-k{k}",
            {**labels, "part": "train", "dataset": "fashion_mnist", "steps": k},
            errors | {"bpd": 3.0},
        )
        for k in (4, 8)
    ]
    weights = {f"weight_{name}_n8": 1e-3 for name in ("float32", "float64")}
    more = {"preset": "default", "dataset": "cifar10", "steps": 32}
    initial = {name: x for name, x in errors.items() if name.endswith("_0")}
    found.append(row("depth", "weight", {**labels, **more, "part": "weight"}, weights))
    found.append(row("depth", "published", {**labels, **more, "part": "published"}, initial))
    return found


def of_versus():
    """Trainings, and times of models and of layers, at three sizes and two kernels."""
    points = [(8, 3), (16, 3), (32, 3), (16, 5), (32, 5), (32, 7), (32, 9), (64, 3)]
    times = seconds("ft", "st", "st_published") | {"parameters": 9.0} | BLOCK
    times |= ratios("st_vs_glow", "st_published_vs_glow", "ft_vs_half", "st_vs_half")
    layers = seconds("forward", "inverse") | BLOCK | ratios("forward_vs_half", "inverse_vs_half")
    found = []
    for method in ("glow", "finc"):
        for i, (n, k) in enumerate(points):
            own = None if method == "glow" else k
            labels = {"preset": "full", "method": method, "n": n, "k": own}
            labels |= {"channels": 12, "batch": 100, "seed": 0, "point": f"n{n}k{k}"}
            if own is None and k != 3:
                continue
            scaled = {x: v * n * k for x, v in layers.items() if x.endswith("_s")}
            found.append(
                row(
                    "versus",
                    f"layers/{n}-{k}-{method}",
                    {**labels, "part": "layers"},
                    layers | scaled,
                )
            )
            if n > 32:
                continue
            scaled = {x: v * n * k for x, v in times.items() if x.endswith("_s")}
            found.append(
                row(
                    "versus",
                    f"models/{n}-{k}-{method}",
                    {**labels, "part": "models"},
                    times | scaled,
                )
            )
            found += [
                row(
                    "versus",
                    f"train-{n}-{k}-{method}-s{seed}",
                    {**labels, "part": "train", "seed": seed, "point": None},
                    {"bpd": 3.0 + 0.1 * i + 0.01 * seed},
                )
                for seed in (0, 1)
            ]
    torch = {"preset": "full", "part": "layers", "method": "torch", "k": 3, "batch": 100}
    ways = seconds("dense", "grouped") | BLOCK
    for n in (8, 16):
        place = {**torch, "n": n, "channels": 12, "seed": 0, "point": f"n{n}k3"}
        found.append(row("versus", f"layers/{n}-torch", place, ways))
    return found


def of_memory():
    """Rows of a step at two depths, and of two trainings of two seeds."""
    found = []
    sizes = {f"{way}_bytes": 1e8 * (i + 1) for i, way in enumerate(memory_page.WAYS)}
    errors = {f"{way}_gradient_error": 1e-6 for way in memory_page.WAYS[1:]}
    facts = BLOCK | sizes | errors | {"drift": 1e-5, "stored": 0.0, "parameters": 1000.0}
    facts |= seconds(*memory_page.WAYS, start=1.0) | ratios(*(r.name for r in memory.RATIOS))
    labels = {"dataset": "cifar10", "levels": 3, "width": 512, "images": 16, "seed": 0}
    for name in ("glow", "finc"):
        labels |= {"preset": "default", "part": "step", "method": name}
        found += [row("memory", f"{name}-k{k}", {**labels, "steps": k}, facts) for k in (8, 16)]
    labels = {"preset": "trained", "part": "train", "method": "finc", "dataset": "digits"}
    for i, way in enumerate(("ordinary", "auto")):
        for seed in (0, 1):
            values = {**TRAINED, "bpd": 3.0 + 0.001 * i + 0.01 * seed, "memory": way}
            found.append(row("memory", f"{way}-s{seed}", {**labels, "seed": seed}, values))
    return found


def rows_of(table):
    if table == "memory":
        return of_memory()
    if table == "ranking":
        return of_ranking()
    if table == "depth":
        return of_depth()
    if table == "versus":
        return of_versus()
    if table == "coupling_free":
        return of_coupling_free()
    if table == "README":
        return sorted(of_table2(), key=lambda row: row["preset"] == "default")
    if table == "table2":
        return of_table2()
    if table == "table1":
        facts = {"stored": 1234.0, "free": 1200.0, "dependent_steps": 63.0, "exact": "exact"}
        facts |= {"inverse_operations": 9999.0, "log_det_operations": 5.0}
        facts |= {"round_trip_error": 1e-16, "sees": "all", "assumes": "odd k"}
        size = {"channels": 12, "n": 32, "k": 3}
        labels = [{"method": method, **size} for method in ("glow", "finc")]
        return [row("table1", x["method"], x, facts, method={"options": {}}) for x in labels]
    if table == "scaling":
        facts = {"gflops": 300.0, "fastest_torch_forward": "four_fresh", **BLOCK}
        facts |= {f"{name}_extra_bytes": 2e6 for name in scaling_page.COPIES} | {
            "input_bytes": 1e6
        }
        facts |= ratios(scaling_page.FRESH, "inverse_vs_forward", "aa_inverse")
        facts |= ratios(scaling_page.JACOBI, scaling_page.TO_WAVEFRONT)
        points = {"n8": (8, 3), "n16": (16, 3), "n32": (32, 3), "k2": (32, 2), "k5": (32, 5)}
        return [
            row(
                "scaling",
                f"c12-b100/{point}",
                {"point": point, "channels": 12, "batch": 100, "n": n, "k": k},
                facts | seconds(*scaling_page.SERIES, start=0.001 * n * k),
            )
            for point, (n, k) in points.items()
        ]
    if table == "ladder":
        facts = BLOCK | seconds(*RUNGS, start=0.01) | ratios(*(r.name for r in ladder.RATIOS))
        labels = {"channels": 12, "n": 32, "batch": 100}
        return [row("ladder", f"c12-n32-b100/k{k}", {**labels, "k": k}, facts) for k in (3, 5)]
    if table == "linear":
        place = {"preset": "full", "dataset": "digits", "squeezes": 0}
        values = {"channels": 1.0, "n": 8.0, "train_images": 1297.0, "inverse_norm": 2.5}
        values |= {"condition": 3.25, "bpd_interval": 0.0625, "paired_interval": 0.03125}
        kinds = [("quarter plane", 1), ("quarter plane", 2), ("quarter plane", 3)]
        found = [
            row(
                "linear",
                f"full-digits-q0/{mask} k{k}",
                {**place, "kernel": f"{mask} k{k}"},
                values | {"mask": mask, "k": float(k), "taps": k * k - 1.0, "bpd": 4.5 - k / 8},
            )
            for mask, k in (*kinds, ("half plane", 3))
        ]
        trained = {"mask": "trained", "k": 2.0, "taps": 3.0, "channels": 1.0, "n": 8.0}
        trained |= {"train_images": 1297.0, "trained_bpd": 4.25, "closed_bpd": 4.125}
        place |= {"kernel": "trained k2"}
        return [*found, row("linear", "full-digits-q0/trained k2", place, trained)]
    if table == "released":
        facts = seconds("forward", "inverse", "released_forward", "released_inverse") | BLOCK
        facts |= ratios("released_forward_vs_ours", "released_inverse_vs_ours", start=2.0)
        facts |= ratios("aa_inverse") | {f"{x}_difference": 1e-7 for x in ("forward", "inverse")}
        facts |= {"round_trip_error": 1e-6, "log_det_difference": 1e-8}
        about = {"repository": "example.org/code", "revision": "abc123", "what": "as it is"}
        place = {"channels": 12, "n": 32, "batch": 100}
        return [
            row("released", f"{x}-c12", {"released": x, "method": x, **place, **about}, facts)
            for x in ("finc", "glow")
        ]
    if table == "clock":
        facts = BLOCK | seconds("once", "again") | ratios("aa", start=1.01) | {"single": 2.0}
        return [
            row("clock", f"block0/{call}", {"block": 0, "call": call}, facts)
            for call in ("conv2d", "st")
        ]
    if table == "gpu":
        names = ("inverse", "forward", "torch_forward", "pointwise", "inverse_eager", "wavefront")
        names += ("inverse_hot", "forward_hot", "diagonal_channel", "diagonal_channel_4")
        facts = seconds(*names, start=1e-4)
        facts |= ratios("inverse_vs_torch_forward", "aa_inverse")
        facts |= {"inverse_bytes_per_s": 1e12, "inverse_flop_per_s": 1e12}
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
        facts |= ratios("st_vs_ft", "graph_st_vs_graph_ft", "convolutions_vs_graph_st")
        facts |= ratios("aa_graph_ft") | {"round_trip_error": 1e-5, "parameters": 9e4}
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
        facts = {"parameters": 1000.0, "round_trip_error": 1e-3, **BLOCK}
        facts |= seconds("ft", "ft_cold", "st", "st_published")
        facts |= ratios(f"ft_vs_{table3.REFERENCE}", f"st_vs_{table3.REFERENCE}")
        facts |= ratios("st_vs_ft", "st_published_vs_st", start=2.0)
        labels = {"images": 100, "width": 512}
        return [
            row("table3", f"i100-w512/{name}", {"model": name, **labels}, facts)
            for name in reversed(table3.MODELS)
        ]
    if table == "table4":
        facts = {"parameters": 1000.0, "ours_round_trip": 1e-3, **BLOCK}
        facts |= seconds("ours", "algorithm_1", "algorithm_2")
        facts |= ratios(*(ratio.name for ratio in table4.RATIOS))
        return [
            row(
                "table4", f"{size}-{images}", {"size": size, "images": images, "width": 512}, facts
            )
            for size in table4.MODELS
            for images in table4.IMAGES
        ]
    if table == "figure4":
        batches = (16, figure4.RGB_BATCH)  # a page of all takes a second for each field
        times = {f"{name}_{batch}_s": 0.5 for name in ("st", "st_published") for batch in batches}
        times |= ratios(*(f"st_{batch}_vs_glow" for batch in batches))
        times |= ratios(*(f"st_published_{batch}_vs_st" for batch in batches), start=2.0)
        times = {name: x for name, x in times.items() if not name.endswith("_all")}
        return [
            row("figure4", f"{s}-w512/{m}", {"method": m, "size": s, "width": 512}, times)
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


LAST = [(table, -1) for table in PAGES]
OTHERS = [
    ("ranking", 0),
    ("versus", 1),
    *(
        pytest.param(table, number, marks=pytest.mark.slow)
        for table, number in (("table2", 0), ("table2", 4), ("README", 4), ("table3", 0))
    ),
]


def halves(names):
    """Groups of names; for each two there is one with the first and without the second."""
    bits = range(max(1, (len(names) - 1).bit_length()))
    if len(names) <= 2 * len(bits):
        return [[name] for name in names]
    return [
        [name for i, name in enumerate(names) if (i >> bit) % 2 == half]
        for bit in bits
        for half in (0, 1)
    ]


@pytest.mark.parametrize(("table", "number"), LAST + OTHERS)
def test_exactly_the_cells_of_a_changed_row_change(table, number):
    """Half of the fields change at a time: another half for each two of them."""
    rows = rows_of(table)
    before = places(page(table, rows))
    changed = rows[number]
    numbers = [name for name, value in changed.items() if isinstance(value, float)]
    sources = {
        place: {s.field for s in entry.sources if s.cell == changed["cell"]}
        for place, entry in before.items()
    }
    shown = [name for name in numbers if any(name in fields for fields in sources.values())]
    assert shown
    for fields in ([name for name in numbers if name not in shown], *halves(shown)):
        other = {name: changed[name] * (3.7 + 0.31 * i) for i, name in enumerate(fields)}
        after = [{**one, **other} if one is changed else one for one in rows]
        after = places(page(table, after))
        assert before.keys() == after.keys()
        differ = {place for place in before if before[place].text != after[place].text}
        mapped = {place for place in before if sources[place] & set(fields)}
        # 1 stays inside, and a pair is neither before and after
        counts = {p for p in mapped if p[2] == "contain 1" or before[p].text[-1] in "·RE"}
        assert mapped - counts <= differ <= mapped, fields


NAMES = (
    "model|data|method|size|batch|images|steps|device|solver|cell|threads|torch|python|commit|date"
    "|L, K|point|layer|C, n|seeds|theory|what|how|machine|rung|changes|compared|call|pairs"
)


def without_source(document):
    """The entries with a digit that say neither row nor publication.

    But for the 1 of what all others are divided by.
    """
    return [
        (column, entry.text)
        for (_, _, column), entry in places(document).items()
        if re.search(r"\d", entry.text) and not re.match(NAMES, column) and not entry.sources
        if not (entry.text == "1" and re.search("÷ (Glow|FInC)$", column))
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
    assert set(ours["field"]) == {"ours_s", "ours_q25_s", "ours_q75_s", "ours_round_trip"}
    assert set(ours["cell"]) == {"mnist-1"}
    stated = found[(found["line"] == 1) & (found["column"] == "algorithm 1 published")]
    assert stated["published"].str.contains("Table 4").all()


@pytest.mark.parametrize("table", TABLES)
def test_no_rows_one_failed_row_two_machines_and_two_commits(table):
    assert "Not yet measured" in TABLES[table].page(read_table(ROOT / "nowhere.csv")).markdown()
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
