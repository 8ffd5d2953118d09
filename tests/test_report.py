"""Published figures and pages."""

import json
import re
import subprocess

import pandas as pd
import pytest

from invconv.report import entries as en
from invconv.report.published import LABELS, published
from invconv.report.ranking import paired_difference
from invconv.rows import read_table
from invconv.rows.provenance import ROOT
from invconv.tables import faults, figure4, table2_page
from invconv.tables.readme import with_rows
from invconv.tables.table import tables
from invconv.tables.table2_page import METRICS, PAPER


def page(rows):
    return table2_page.page(rows).markdown()


def nothing():
    return dict.fromkeys(tables(), read_table(ROOT / "nowhere.csv"))


def test_memory_that_was_kept_is_told_where_rows_know_it():
    rows = pd.DataFrame([make_row(), make_row("glow")])
    assert "Freed memory" not in page(rows)
    assert "Freed memory stays with the process (" in page(rows.assign(memory_kept=True))
    rows["memory_kept"] = [True, None]
    assert f"Freed memory stays with the process, but for `{rows['cell'].iloc[1]}` (" in page(rows)


def test_samples_that_cannot_be_trusted_are_named():
    errors = {"round_trip_error": 340.0, "round_trip_error_float64": 1.1e-6}
    text = page(pd.DataFrame([make_row(), make_row("glow", dataset="cifar10", **errors)]))
    assert text.count("decoding what was encoded") == 1
    note = (
        "`default-cifar10-glow-0`, m): decoding what was encoded has a relative error of 3.4e+02"
    )
    assert note + " (1.1e-06 in float64):" in text.partition("## The paper's data sets")[2]
    lost = {"samples_not_finite": 25.0}
    text = page(pd.DataFrame([make_row("macow", **lost), make_row()]))
    assert "MaCow on digits 8×8 (`default-digits-macow-0`, m): 25 of 100 samples were not" in text
    del errors["round_trip_error_float64"]
    text = page(pd.DataFrame([make_row("glow", **errors)]))
    assert "of 3.4e+02: rounding" in text


def make_row(method="finc", status="ok", preset="default", dataset="digits", seed=0, **values):
    config = {
        "method": method,
        "seed": seed,
        "budget": {"levels": 3, "steps": 32, "width": 512, "training": {"steps": 600}},
        "dataset": dataset,
    }
    times = {
        f"{name}{quartile}_s": 0.5
        for name in ("ft", "st", "train_step")
        for quartile in ("", "_q25", "_q75")
    }
    measured = {
        "bpd": 2.125,
        "histogram_bpd": 2.44,
        "aa_spread": 0.01,
        "timed_images": 100,
        "round_trip_error": 1e-6,
        "parameters": 1234,
        **times,
        **values,
    }
    return {
        "cell": f"{preset}-{dataset}-{method}-{seed}",
        "table": "table2",
        "preset": preset,
        "dataset": dataset,
        "method": method,
        "seed": seed,
        "status": status,
        "reason": "" if status == "ok" else "RuntimeError: broke",
        **(measured if status == "ok" else {}),
        "device": "cpu",
        "machine": "m",
        "threads": 2,
        "torch": "2",
        "python": "3",
        "commit": "abc",
        "dirty": False,
        "date": "2026-01-01",
        "config": json.dumps(config),
    }


def test_a_number_without_a_row_does_not_exist():
    empty = page(read_table(ROOT / "nowhere.csv"))
    assert "2.125" not in empty
    assert empty.count("missing") > 20
    assert "| FInC | missing" in " ".join(empty.split())


def test_measured_published_and_ratio():
    row = make_row(dataset="cifar10", bpd=3.39 * 2, st_s=0.41 / 2)
    text = " ".join(page(pd.DataFrame([row])).split())
    assert "| CIFAR-10 | FInC | 3, 32, 512 | 3.39 | 6.780 | 2.00 |" in text
    assert "| 0.41 | 0.205 [0.500, 0.500] | 0.50 |" in text


@pytest.mark.parametrize(
    ("change", "ratios"),
    [
        ({}, ("2.00", "0.50")),
        ({"timed_images": 10}, ("2.00", "–")),
        ({"width": 16}, ("–", "–")),
        ({"steps": 28}, ("–", "–")),
    ],
)
def test_only_the_published_model_is_compared_with_its_figures(change, ratios):
    row = make_row(dataset="cifar10", bpd=3.39 * 2, st_s=0.41 / 2)
    config = json.loads(row["config"])
    for name, value in change.items():
        (row if name in row else config["budget"])[name] = value
    text = " ".join(page(pd.DataFrame([row | {"config": json.dumps(config)}])).split())
    line = text.partition("| CIFAR-10 | FInC |")[2].partition("CIFAR-10")[0].split(" | ")
    assert (line[3], line[9]) == ratios


def test_an_imported_row_is_told_from_ours_on_the_same_device():
    theirs = {"machine": "Some Lab: m", "bpd": 1.234}
    rows = [make_row(dataset="cifar10"), make_row(dataset="cifar10") | theirs]
    text = page(pd.DataFrame(rows))
    line = next(line for line in text.splitlines() if "1.234" in line)
    assert "cpu (Some Lab: m)" in line
    assert "### Some Lab: m" in page(pd.DataFrame([make_row(), make_row() | theirs]))
    readme = (ROOT / "README.md").read_text()
    shown = with_rows(
        readme, nothing() | {"table2": pd.DataFrame([make_row(), make_row() | theirs])}
    )
    assert "2.125" in shown
    assert "1.234" not in shown


def test_a_failed_cell_of_the_papers_data_is_not_missing():
    text = page(pd.DataFrame([make_row(dataset="mnist", status="oom")]))
    line = next(line for line in text.splitlines() if re.match(r"\| MNIST +\| FInC ", line))
    assert "oom" in line
    assert "missing" not in line


def test_a_sampling_time_of_a_model_that_does_not_invert_says_so_in_its_cell():
    lost = make_row(dataset="cifar10", st_s=4.0, round_trip_error=0.92)
    text = page(pd.DataFrame([lost, make_row("glow", st_s=3.0, round_trip_error=1e-6)]))
    assert "4.00 [0.500, 0.500], does not invert in float32: round trip 0.92 |" in text
    assert text.count("does not invert in float32: round") == 1


def test_no_page_divides_times_of_two_rows():
    rows = [make_row(st_s=1.0), make_row("glow", st_s=5.0)]
    text = page(pd.DataFrame(rows))
    assert " 5.00 |" not in text
    assert "× Glow" not in text


def test_a_failed_cell_has_a_footnote():
    text = page(pd.DataFrame([make_row(status="error"), make_row("glow")]))
    assert "FInC on digits 8×8 (`default-digits-finc-0`, m): error: RuntimeError: broke" in text
    assert "2.125" in text


def test_methods_and_data_that_nobody_listed_are_shown():
    text = " ".join(page(pd.DataFrame([make_row("scale", dataset="stamps")])).split())
    assert "| stamps | scale | ok |" in text


def test_rows_of_all_machines_are_shown_and_old_commits_are_not():
    rows = [
        make_row(bpd=1.111),
        make_row(bpd=2.222) | {"machine": "other"},
        make_row(bpd=3.333) | {"commit": "def", "date": "2026-02-01"},
    ]
    text = page(pd.DataFrame(rows))
    assert "1.111" not in text
    assert "2.222" in text
    assert "3.333" in text


@pytest.mark.parametrize(
    ("gap", "sentence"),
    [
        (-0.1, "FInC is better than Glow"),
        (0.1, "FInC is worse than Glow"),
        (0.0, "4 seeds: these seeds show differences from Glow of 0."),
    ],
)
def test_differences_are_paired_by_seed(gap, sentence):
    rows = []
    for seed in range(4):
        level = 2 + seed
        noise = 0.01 * (-1) ** seed
        rows.append(make_row("glow", preset="embedded_long", seed=seed, bpd=level))
        rows.append(make_row("finc", preset="embedded_long", seed=seed, bpd=level + gap + noise))
    assert sentence in page(pd.DataFrame(rows))


def test_one_method_with_other_options_is_another_line():
    rows = []
    for size in (3, 5):
        for seed in range(3):
            row = make_row("finc", preset="embedded_long", seed=seed, bpd=size + 0.1 * seed)
            method = {"name": "finc", "options": {"kernel_size": size}}
            config = json.dumps({**json.loads(row["config"]), "method": method})
            rows.append({**row, "config": config, "cell": f"{row['cell']}-{size}"})
    text = page(pd.DataFrame(rows))
    assert re.search(r"FInC, kernel_size = 3 +\| +3 \| +3\.100 ± 0\.100", text)
    assert re.search(r"FInC, kernel_size = 5 +\| +3 \| +5\.100 ± 0\.100", text)


def test_paired_interval_by_hand():
    theirs = pd.DataFrame({"seed": [0, 1, 2], "bpd": [1.0, 2.0, 3.0]})
    ours = pd.DataFrame({"seed": [2, 1, 0, 9], "bpd": [3.3, 2.2, 1.1, 0.0]})
    found = paired_difference(ours, theirs, "bpd")
    assert found.pairs == 3
    assert found.mean == pytest.approx(0.2)
    # t(0.975, 2) = 4.3027, standard error 0.1 / √3
    assert found.mean + found.reach() == pytest.approx(0.2 + 4.3027 * 0.1 / 3**0.5, abs=1e-4)
    assert not found.resolved()
    # 0.3 is 5.2 standard errors: more than 4.30, less than t(1 − 0.05/4, 2) = 6.21
    clearer = paired_difference(ours.assign(bpd=ours["bpd"] + 0.1), theirs, "bpd")
    assert clearer.resolved()
    assert not clearer.resolved(among=2)
    assert paired_difference(ours[:1], theirs, "bpd") is None


def test_published_figures_have_label_source_and_known_names():
    figures = published("table2")
    assert set(figures["label"]) <= set(LABELS)
    assert (figures["source"] != "").all()
    assert set(figures["metric"]) == set(METRICS)
    assert set(figures["dataset"]) == set(PAPER)
    assert not figures.duplicated(["model", "dataset", "metric"]).any()
    value = figures.set_index(["model", "dataset", "metric"])["value"].astype(float)
    assert value["FInC", "cifar10", "st_s"] == 0.41
    assert value["Emerging", "imagenet64", "st_s"] == 137.04


def test_numbers():
    assert en.number(0.012345) == "0.0123"
    assert en.number(12345.6) == "12,346"
    assert en.number(137.04) == "137"
    assert en.number(1.2e-7, 2) == "1.2e-07"
    assert en.number(0.0) == "0.00"
    assert en.number(float("nan")) == en.ABSENT
    assert en.bits(3.3901) == "3.390"
    assert en.with_quartiles(1.0, 0.5, 2.0) == "1.00 [0.500, 2.00]"


def committed(path):
    """The file as it was committed, "" if it was not: a sweep of one's own changes results/."""
    shown = subprocess.run(
        ["git", "-C", str(ROOT), "show", f"HEAD:{path}"],
        capture_output=True,
        text=True,
    )
    return shown.stdout


def test_the_committed_pages_come_from_the_committed_rows(tmp_path):
    rows = {}
    for name, table in tables().items():
        data = tmp_path / f"{name}.csv"
        if committed(f"results/data/{name}.csv"):
            data.write_text(committed(f"results/data/{name}.csv"))
        rows[name] = read_table(data)
        assert committed(f"results/{name}.md") == table.page(rows[name]).markdown(), name
    readme = committed("README.md")
    assert with_rows(readme, rows) == readme


def test_the_readme_says_what_the_rows_say():
    readme = (ROOT / "README.md").read_text()
    empty = with_rows(readme, nothing())
    assert "times as long" not in empty.partition("<!-- figures")[2][:300]
    assert ".svg" not in empty.partition("<!-- figures")[2].partition("end of figures")[0]
    timing = {"dataset": "cifar10", "preset": "paper_timing", "ft_s": 1.0}
    flows = [
        make_row("glow", ft_s=1.0, st_s=1.5),
        make_row("macow", ft_s=1.0, st_s=7.25, timed_images=100, samples_not_finite=3),
        make_row("glow", **timing, st_s=9.0),  # of which nothing is published
        make_row("finc", **timing, st_s=1.25, round_trip_error=1e-6),
        make_row("emerging", **timing, st_s=1.75, round_trip_error=1e-6),
    ]
    flows += [row | {"machine": "older", "st_s": 99.0, "date": "2025-01-01"} for row in flows]
    here = {"status": "ok", "machine": "m", "device": "cpu", "date": "2026-01-01", "config": "{}"}
    here |= {"commit": "abc", "dirty": False, "torch": "2", "threads": 2}
    layer = here | {
        "fastest_torch_forward": "four",
        "channels": 12,
        "batch": 100,
        "inverse_s": 1.0,
        "torch_forward_s": 4.0,
    }
    layer |= {"fresh_s": 2.0, "n": 8, "k": 3, "point": "n8"}
    layer |= {"inverse_diagonal_channel_s": 33.0}
    sampling = [
        {**here, "cell": method, "method": method, "width": 16, "size": "8x8"}
        | {"repeats": 3}
        | {f"st_{batch}_s": seconds * batch for batch in figure4.BATCHES}
        | {"st_1_s": seconds * (4 if method == "finc" else 1)}
        for method, seconds in (("glow", 2.0), ("finc", 2.5), ("macow", 13.0))
    ]
    rows = {
        "table2": pd.DataFrame(flows),
        "scaling": pd.DataFrame(
            [
                {**layer, "cell": "a"},
                {**layer, "cell": "b", "inverse_s": 3, "torch_forward_s": 3, "n": 64},
            ]
        ),
        "figure4": pd.DataFrame(sampling),
    }
    said = with_rows(readme, rows)
    worst = 17.19 / 0.49  # Emerging's figures
    assert f"take up to {worst:.0f} times as long as the forward pass (Emerging on CIFAR" in said
    assert "On cpu sampling takes 1.25 to 1.75 times as long with our solver, " in said
    assert "99.0" not in said
    assert "MaCow on digits 8×8: 3 of 100 samples" in said.partition("end of table2")[0]
    assert "n 8 to 64, k 3 to 3) takes 0.50 to 0.67 of torch's fastest forward pass" in said
    assert "](results/figures/scaling-m-c12-b100.svg)" in said
    assert "](results/figures/figure4-m-w16.svg)" in said


def test_readme_markers():
    with pytest.raises(ValueError, match="markers"):
        with_rows("# no markers", nothing())


def test_the_page_of_faults_counts_what_was_killed_and_what_a_job_costs():
    source = {
        "machine": "m",
        "device": "m",
        "date": "2026-01-01",
        "commit": "1",
        "dirty": False,
        "status": "ok",
    }
    trial = {"cells": 5, "attempts": 9, "launches": 2, "lost": 0, "repeated": 0, "other_bpd": 0}
    trial |= {"kills: scancel": 2, "kills: SIGKILL to a cell": 3, "last_kill_to_table_s": 61.4}
    cost = {"trivial_cells": 10, "side_by_side": 4, "slurm_s": 50.0, "basic_s": 10.0}
    rows = [{"cell": "faults", **trial, **source}, {"cell": "overhead", **cost, **source}]
    text = faults.page(pd.DataFrame(rows)).markdown()
    for name, value in (("faults: scancel", 2), ("faults, all", 5), ("**cells lost**", 0)):
        assert re.search(rf"\| {re.escape(name)} +\| +{value} \|", text)
    assert re.search(r"last kill to the complete table +\| +61 \|", text)
    assert "A job costs 19.0 s of its slot more" in text
    assert re.search(r"4 jobs at a time \| +50 \| +5.00 \| +20.00 \|", text)
