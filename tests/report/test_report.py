"""Published figures and pages."""

import json
import re
import subprocess

import pandas as pd
import pytest

from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.published import LABELS, published
from invconv.rows import read_table
from invconv.rows.provenance import ROOT
from invconv.tables import readme, scaling_page
from invconv.tables.readme import with_rows
from invconv.tables.table import tables
from invconv.tables.table2_page import PAPER
from invconv.tables.table2_paper import METRICS


def page(rows):
    return tables()["table2"].page(rows).markdown()


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
    del errors["round_trip_error_float64"]
    text = page(pd.DataFrame([timed("glow", **errors), timed()]))
    assert "- Glow on digits 8×8: decoding what was encoded has a relative" in text
    assert "of 3.4e+02: rounding" in text


def test_samples_that_are_not_finite_have_no_time_and_no_ratio():
    good, lost = timed(st_s=0.0321), timed("macow", st_s=0.0765, samples_not_finite=25.0)
    text = page(pd.DataFrame([timed("glow"), good, lost]))
    line = line_of(text, "MaCow", "stored")
    assert line["ST ms"] == "not valid: samples not finite"
    assert "76.5" not in text
    assert [line[name] for name in ("ST ÷ Glow", "ST ÷ FT", "paper's ST ÷ ST")] == ["–"] * 3
    assert line["FT ÷ Glow"] == line["train step ÷ Glow"] == "1.30 [1.20, 1.40]"
    assert "- MaCow on digits 8×8: 25 of 100 samples were not finite" in text
    assert line_of(text, "FInC", "FT ms")["ST ÷ Glow"] == "1.30 [1.20, 1.40]"
    assert "Of 5 ratios of FT, ST and training step to Glow, 0 are below 1." in text
    brief = readme.page(nothing() | {"table2": pd.DataFrame([timed("glow"), good, lost])})
    line = line_of(brief.block("table2"), "MaCow", "FT ms")
    assert (line["ST ms"], line["ST ÷ Glow"]) == ("not valid", "–")
    assert line["paper's ST ÷ Glow"] == "–"
    assert "MaCow" not in brief.block("findings")
    paper = page(pd.DataFrame([timed("macow", dataset="cifar10", samples_not_finite=1.0)]))
    line = line_of(paper, "MaCow", "L, K, width", "CIFAR-10")
    assert line["ST s, measured"] == "not valid: samples not finite"
    assert "ST ÷ FT" not in line  # as a column that says nothing


@pytest.mark.parametrize("how", [{"status": "noisy", "reason": "others"}, {"noisy": True}])
def test_a_noisy_row_is_printed_as_such_and_without_ratios(how):
    noisy = timed(**RATIOS_BELOW) | how
    text = page(pd.DataFrame([timed("glow"), noisy]))
    line = line_of(text, "FInC", "stored")
    assert line["FT ms"] == "500 [400, 600] (noisy)"
    assert line["ST ms"].startswith("500 [400, 600] (noisy)")
    assert line["stored"] == "1,234"
    assert {value for name, value in line.items() if "÷" in name} == {"–"}
    assert "(noisy)" not in str(line_of(text, "Glow", "FT ms"))
    assert "ratios of FT" not in text
    assert ("FInC on digits 8×8: noisy: others" in text) == ("reason" in how)
    brief = readme.page(nothing() | {"table2": pd.DataFrame([timed("glow"), noisy])})
    line = line_of(brief.block("table2"), "FInC", "FT ms")
    assert [line[name] for name in ("FT ms", "ST ms")] == ["500 (noisy)"] * 2
    assert [line[name] for name in ("ST ÷ Glow", "paper's ST ÷ Glow")] == ["–"] * 2
    assert "FInC" not in brief.block("findings")


def make_row(method="finc", status="ok", preset="default", dataset="digits", seed=0, **values):
    config = {
        "method": method,
        "seed": seed,
        "budget": {"levels": 3, "steps": 32, "width": 512, "training": {"steps": 600}},
        "dataset": dataset,
    }
    measured = {
        "bpd": 2.125,
        "histogram_bpd": 2.44,
        "round_trip_error": 1e-6,
        "parameters": 1234,
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


TO_GLOW = ("ft_vs_glow", "st_vs_glow", "train_step_vs_glow")
ENDS = {"": 0, "_low": -0.1, "_high": 0.1, "_low_all": -0.2, "_high_all": 0.2}
RATIOS_BELOW = {f"{name}{end}": 0.5 + shift for name in TO_GLOW for end, shift in ENDS.items()}


def timed(method="finc", dataset="digits", preset="default", status="ok", **values):
    """A part of the block of a data set: no bits per dimension."""
    row = make_row(method, status, preset, dataset)
    ratios = {
        f"{name}{end}": center + shift
        for center, names in ((1.3, TO_GLOW), (1.8, ("st_vs_ft", "st_published_vs_st")))
        for name in names
        for end, shift in ENDS.items()
        if method != "glow" or name not in TO_GLOW
    }
    times = {
        f"{name}{end}_s": seconds
        for name in ("ft", "st", "train_step")
        for end, seconds in (("", 0.5), ("_q25", 0.4), ("_q75", 0.6))
    }
    facts = {"timed_images": 100, "processes": 3, "rounds": 20, "compared": 40}
    measured = times | ratios | facts | values if status == "ok" else {}
    del row["bpd" if "bpd" in row else "reason"]
    return row | {"reason": "", "cell": f"{preset}-{dataset}-times/{method}"} | measured


def line_of(text, name, column, beside=""):
    """The line of the first table with ``column`` that names it, as a dict.

    A table that was too wide is several, one after the other.
    """
    titles, found = None, {}
    for line in [*text.splitlines(), "end"]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line and not line.startswith("|"):
            if column in found:
                return found
            found = {}
        if not line.startswith("|"):
            titles = None
        elif titles is None:
            titles = cells
        elif name in cells and beside in ("", cells[0]) and not set(titles[1:]) & set(found):
            found |= dict(zip(titles, cells, strict=True))
    raise AssertionError(f"no line of {name} with {column} in {text}")


def test_a_number_without_a_row_does_not_exist():
    empty = page(pd.DataFrame([make_row(dataset="cifar10")]))
    line = line_of(empty, "FInC", "bpd measured", "MNIST")
    assert {value for name, value in line.items() if name.endswith("measured")} == {"–"}
    none = page(pd.DataFrame([make_row()]))
    assert not {"bpd measured", "ST s, measured"} & set(line_of(none, "FInC", "bpd published"))
    assert "None of these models has been measured here yet" in none


def test_measured_and_published_stand_side_by_side_and_are_not_divided():
    trained = make_row(dataset="cifar10", bpd=3.39 * 2)
    text = page(pd.DataFrame([trained, timed(dataset="cifar10", st_s=0.205)]))
    table = text.partition("published | measured")[2]
    line = line_of(table, "FInC", "bpd measured", "CIFAR-10")
    assert line["L, K, width"] == "3, 32, 512"
    assert (line["bpd published"], line["bpd measured"]) == ("3.39", "6.780")
    assert (line["ST s, measured"], line["weights"]) == ("–", "trained")
    times = next(" ".join(x.split()) for x in table.splitlines() if "0.205" in x)
    assert "| 0.41 " in times and " 0.205 [0.400, 0.600] " in times and "| random " in times
    assert not re.search(r"[| ](2\.00|0\.50) ", table.partition("Sources")[0])


def test_an_imported_row_is_told_from_ours_on_the_same_device():
    theirs = {"machine": "Some Lab: m", "bpd": 1.234}
    rows = [make_row(dataset="cifar10"), make_row(dataset="cifar10") | theirs]
    text = page(pd.DataFrame(rows))
    line = next(line for line in text.splitlines() if "1.234" in line)
    assert "cpu (Some Lab: m)" in line
    assert "<summary>Some Lab: m, " in page(pd.DataFrame([make_row(), make_row() | theirs]))
    text = (ROOT / "README.md").read_text()
    shown = with_rows(
        text, nothing() | {"table2": pd.DataFrame([make_row(), make_row() | theirs])}
    )
    assert "2.125" in shown
    assert "1.234" not in shown


def test_a_failed_cell_of_the_papers_data_is_not_missing():
    text = page(pd.DataFrame([make_row(dataset="mnist", status="oom")]))
    line = next(line for line in text.splitlines() if re.match(r"\| MNIST +\| FInC ", line))
    assert "oom" in line
    assert "missing" not in line


def test_a_sampling_time_of_a_model_that_does_not_invert_says_so_in_its_cell():
    lost = timed(dataset="cifar10", st_s=4.0, round_trip_error=0.92)
    text = page(pd.DataFrame([lost, timed("glow", st_s=3.0, round_trip_error=1e-6)]))
    assert "4.00 [0.400, 0.600], does not invert in float32: round trip 0.92 |" in text
    assert text.count("does not invert in float32: round") == 1


def test_no_page_divides_times_of_two_rows():
    """A ratio is what was measured within the rounds, or there is none."""
    rows = [timed(st_s=1.0), timed("glow", st_s=5.0)]
    bare = [{k: v for k, v in row.items() if "_vs_" not in k} for row in rows]
    for text in (page(pd.DataFrame(bare)), str(readme_of(bare).block("table2"))):
        line = line_of(text, "FInC", "FT ms")
        assert {value for name, value in line.items() if "÷" in name} == {"–"}
        assert not re.search(r"[ |](0\.20|5\.00)[ 0]* ", text)
    assert line_of(page(pd.DataFrame(rows)), "FInC", "FT ms")["ST ÷ Glow"] == "1.30 [1.20, 1.40]"


def readme_of(rows):
    return readme.page(nothing() | {"table2": pd.DataFrame(rows)})


def test_a_failed_cell_has_a_footnote():
    text = page(pd.DataFrame([make_row(status="error"), make_row("glow")]))
    assert "FInC on digits 8×8 (`default-digits-finc-0`, m): error: RuntimeError: broke" in text
    assert "2.125" in text


def test_methods_and_data_that_nobody_listed_are_shown():
    text = " ".join(page(pd.DataFrame([make_row("scale", dataset="stamps")])).split())
    assert "| stamps | scale | 2.125 | 2.440 |" in text
    text = page(pd.DataFrame([timed("scale", dataset="stamps")]))
    assert "<summary>stamps, 100 images: m, preset default</summary>" in text
    assert line_of(text, "scale", "FT ms")["FT ms"] == "500 [400, 600]"


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


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((1.234, 1.111, 1.399), "1.23 [1.11, 1.40]"),
        ((0.1234, 0.1, 0.15), "0.12 [0.10, 0.15]"),
        ((0.0512, 0.0499, 0.1), "0.051 [0.050, 0.100]"),
        ((12.34, 9.99, 15.0), "12.34 [9.99, 15.00]"),
        ((12.34, 11.11, 15.0), "12.3 [11.1, 15.0]"),
        ((1234.5, 1100.4, 1300.0), "1,234 [1,100, 1,300]"),
    ],
)
def test_a_ratio_with_its_interval(numbers, text):
    assert en.with_interval(*numbers) == text


def test_a_ratio_stands_there_with_all_three_sources_or_not_at_all():
    whole = dict(zip(("x", "x_low", "x_high"), (1.5, 1.25, 1.75), strict=True))
    row = {"cell": "c", "machine": "m", "commit": "1", "status": "ok", **whole}
    found = en.ratio(pd.Series(row), "x")
    assert found.text == "1.50 [1.25, 1.75]"
    assert [source.field for source in found.sources] == ["x", "x_low", "x_high"]
    for gone in whole:  # fewer than six rounds have no interval: then no ratio is shown
        assert en.ratio(pd.Series(row).drop(gone), "x") == en.Entry(en.ABSENT)
        assert en.ratio(pd.Series(row | {gone: float("nan")}), "x") == en.Entry(en.ABSENT)
    for wrong in ({"status": "noisy"}, {"noisy": True}, {"status": "oom"}):
        assert en.ratio(pd.Series(row | wrong), "x") == en.Entry(en.ABSENT)
    assert en.ratio(pd.Series(row | {"noisy": False}), "x") == found
    assert en.ratio(None, "x") == en.Entry(en.ABSENT)


def test_a_time_of_a_noisy_row_says_so_and_its_counts_do_not():
    row = {"cell": "c", "machine": "m", "commit": "1", "status": "noisy"}
    row = pd.Series(row | {"st_s": 1.0, "st_q25_s": 0.5, "st_q75_s": 2.0, "parameters": 7.0})
    assert en.value(row, "st_s").text == "1.00 (noisy)"
    assert en.quartiles(row, "st").text == "1.00 [0.500, 2.00] (noisy)"
    assert en.value(row, "parameters", en.whole).text == "7"
    row["status"] = "oom"
    assert en.value(row, "st_s").text == "oom"


def test_the_verdict_counts_raw_ratios_and_those_whose_common_interval_is_below_one():
    def one(name, ratio, high_all, **more):
        row = {"name": name, "status": "ok", "compared": 12.0, "st_vs_x": ratio}
        return row | {"st_vs_x_high_all": high_all, "ft_vs_x": 1.1, **more}

    rows = [
        one("fast", 0.5, 0.9),
        one("perhaps", 0.5, 1.1),  # its own interval may be below 1, that of all is not
        one("equal", 1.0, float("nan")),
        one("slow", 2.0, 2.1),
        one("noisy", 0.1, 0.2, status="noisy"),
        one("marked", 0.1, 0.2, noisy=True),
        one("failed", 0.1, 0.2, status="oom"),
        one("not finite", 0.1, 0.2, samples_not_finite=1.0),  # its forward time counts
        one("unknown", float("nan"), float("nan")),
    ]
    found = bl.verdict(pd.DataFrame(rows), ["st_vs_x", "ft_vs_x", "nothing"], lambda r: r["name"])
    assert found == bl.Verdict(ratios=10, below=2, faster=["fast"], together=12)
    nobody = bl.verdict(pd.DataFrame(rows[4:7]), ["st_vs_x"], lambda row: row["name"])
    assert nobody == bl.Verdict(0, 0, [], 0)


def test_the_page_says_what_its_ratios_say():
    rows = [timed("glow"), timed(**RATIOS_BELOW), timed("cinc")]
    text = " ".join(page(pd.DataFrame(rows)).split())
    assert "Of 6 ratios of FT, ST and training step to Glow, 3 are below 1." in text
    faster = ", ".join(["FInC on digits 8×8"] * 3)
    assert f"all 40 ratios of this page together, faster than Glow: {faster}." in text
    wide = {f"{name}_high_all": 1.0 for name in TO_GLOW}
    rows[1] |= wide
    text = " ".join(page(pd.DataFrame(rows)).split())
    assert "3 are below 1." in text
    assert "none is faster than Glow." in text
    assert "20 rounds in each of 3 processes" in text


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
    text = committed("README.md")
    assert with_rows(text, rows) == text


def test_the_readme_says_what_the_rows_say():
    readme_text = (ROOT / "README.md").read_text()
    empty = with_rows(readme_text, nothing())
    assert "times as long" not in empty and ".svg" not in empty
    assert "| FInC " in empty  # the methods are known without rows
    to_glow = {"finc": (1.25, 1.5), "emerging": (1.75, 35.0), "woodbury": (1.5, 2.0)}
    to_glow["periodic"] = (4.0, 5.0)
    flows = [timed("glow", st_s=0.015)]
    flows += [
        timed(name, **sized("st_vs_glow", ours), **sized("st_published_vs_glow", papers))
        for name, (ours, papers) in to_glow.items()
    ]
    flows += [timed("macow", samples_not_finite=3, **sized("st_vs_glow", 0.25))]
    flows += [timed("cinc", status="oom")]
    flows += [row | {"machine": "older", "st_s": 99.0, "date": "2025-01-01"} for row in flows]
    here = {"status": "ok", "machine": "m", "device": "cpu", "date": "2026-01-01", "config": "{}"}
    here |= {"commit": "abc", "dirty": False, "torch": "2", "threads": 2}
    layer = here | seconds("torch_forward", "inverse", "fresh", "inverse_diagonal_channel")
    layer |= {"fastest_torch_forward": "four", "channels": 12, "batch": 100, "k": 3}
    layers = [
        layer
        | {"cell": f"c12-b100/n{n}", "point": f"n{n}", "n": n, **sized(scaling_page.FRESH, ratio)}
        for n, ratio in ((8, 0.5), (64, 0.67))
    ]
    deep = here | {"part": "published", "dataset": "imagenet64", "method": "finc"}
    depth = [
        deep | {"cell": variant, "variant": variant, "images_float32_0": lost}
        for variant, lost in (("", 12.5), ("_fan_in", 0.25), ("_bounded", 2e-5))
    ]
    counted = here | {"method": "finc", "channels": 12, "n": 32, "cell": "finc-c12-n32"}
    counts = [counted | {"dependent_steps": 63.0, "exact": "exact"}]
    counts += [counts[0] | {"n": 64, "cell": "finc-c12-n64", "dependent_steps": 127.0}]
    rows = {"table2": flows, "scaling": layers, "depth": depth, "table1": counts}
    said = with_rows(
        readme_text, nothing() | {name: pd.DataFrame(made) for name, made in rows.items()}
    )
    assert "With our inverses all but Periodic sample in at most 1.8 × Glow's time" in said
    assert "the papers' algorithms take up to 35 ×](results/figures/table2-relative.svg)" in said
    ends = "1.25 [1.15, 1.35] (FInC) to 1.75 [1.65, 1.85] (Emerging)"
    assert f"it takes {ends} times as long as with Glow, and 4.00 [3.90, 4.10] (Periodic)" in said
    assert "algorithms, 1.50 [1.40, 1.60] (FInC) to 35.0 [34.9, 35.1] (Emerging) times" in said
    assert "99.0" not in said
    line = line_of(said, "Glow", "ST ms")
    assert (line["ST ms"], line["ST ÷ Glow"]) == ("15.0", "1")
    assert line_of(said, "FInC", "paper's ST ÷ Glow")["paper's ST ÷ Glow"] == "1.50 [1.40, 1.60]"
    assert "MaCow on digits 8×8: 3 of 100 samples" in said
    assert "`default-digits-times/cinc`: oom" in said
    ends = "0.50 [0.40, 0.60] (12 channels, batch 100, n = 8, k = 3) to 0.67 [0.57, 0.77]"
    assert f"the inverse of FInC takes {ends} (12 channels, batch 100, n = 64, k = 3)" in said
    assert "it is faster at all 2 sizes" in said
    assert "FInC at its published size for ImageNet-64 does not invert" in said
    assert "relative error of 12; with `max_growth=4`, of 2.0e-05." in said
    line = line_of(said, "FInC", "dependent steps")
    assert (line["name"], line["dependent steps"], line["inverse"]) == ("`finc`", "63", "exact")
    assert line["paper"].startswith("[Kallappa, Nagar and Varma 2023](https://arxiv.org/abs/2301")
    assert line["as released"].startswith("[yes](https://github.com/")
    assert line_of(said, "Glow", "dependent steps")["as released"] == "–"


def sized(name, center):
    return {f"{name}{end}": center + shift for end, shift in ENDS.items()}


def seconds(*names):
    return {f"{name}{quartile}_s": 0.5 for name in names for quartile in ("", "_q25", "_q75")}


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
    text = tables()["faults"].page(pd.DataFrame(rows)).markdown()
    for name, value in (("faults: scancel", 2), ("faults, all", 5), ("**cells lost**", 0)):
        assert re.search(rf"\| {re.escape(name)} +\| +{value} \|", text)
    assert re.search(r"last kill to the complete table +\| +61 \|", text)
    assert "A job costs 19.0 s of its slot more" in text
    assert re.search(r"4 jobs at a time \| +50 \| +5.00 \| +20.00 \|", text)
