"""The whole path: a sweep from the command line to the page."""

import json
import os
import subprocess
import sys
from functools import partial

import pandas as pd
import pytest
from omegaconf import OmegaConf

from invconv.rows import read_table
from invconv.rows.provenance import ROOT
from invconv.sweeps.config import identity
from invconv.tables.table import tables
from invconv.tables.table2 import TABLE

SMALL = ["preset=tiny", "progress=false", "dataset=digits", "method=glow,finc"]


@pytest.fixture
def sweep(reproduce):
    return partial(reproduce, "table2.py", *SMALL)


def rows(tmp_path):
    return pd.read_csv(tmp_path / "runs" / "tiny" / "results" / "data" / "table2.csv")


def test_one_failing_cell_does_not_stop_the_others_and_a_second_run_resumes(sweep, tmp_path):
    first = sweep("budget.levels=9,2")
    assert first.returncode == 1, first.stderr
    assert "2 of 4 cells ok" in first.stdout
    found = rows(tmp_path)
    assert sorted(found["status"]) == ["error", "error", "ok", "ok"]
    failed = found[found["status"] == "error"]
    assert failed["reason"].str.contains("divisible by 512, not 8x8").all()
    assert failed["bpd"].isna().all()
    labels = ["cell", "method", "dataset", "status", "reason", "device", "commit"]
    wanted = [*labels, "bpd", "ft_s", "st_s"]
    assert set(wanted) <= set(found.columns)
    page = (tmp_path / "runs" / "tiny" / "results" / "table2.md").read_text()
    assert "error: ValueError: 9 levels halve the image 9 times" in page

    row = next((tmp_path / "runs" / "tiny" / "table2").glob("tiny-digits-finc-*/row.json"))
    ok = found[found["status"] == "ok"].set_index("method")
    if json.loads(row.read_text())["status"] != "ok":
        row = next(p for p in row.parent.parent.glob("*finc*/row.json") if p != row)
    row.unlink()
    second = sweep()
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("skipped, done before") == 1
    assert "2 of 2 cells ok" in second.stdout
    again = rows(tmp_path).query("status == 'ok'").set_index("method")
    assert again["bpd"].to_dict() == pytest.approx(ok["bpd"].to_dict())
    assert again.loc["glow", "st_s"] == ok.loc["glow", "st_s"]
    assert len(rows(tmp_path)) == 4


@pytest.mark.parametrize("full_error", ["0", "1"])
def test_bad_overrides_are_refused_before_anything_runs(sweep, tmp_path, monkeypatch, full_error):
    monkeypatch.setenv("HYDRA_FULL_ERROR", full_error)
    wrong = sweep("seed=oops")
    assert wrong.returncode == 1
    assert "seed" in wrong.stderr
    assert "Integer" in wrong.stderr
    wrong = sweep("method=nonsense")
    assert wrong.returncode == 1
    assert "glow" in wrong.stderr
    if full_error == "1":
        assert "Traceback" in wrong.stderr
    assert not (tmp_path / "runs" / "tiny" / "results").exists()


def test_showing_the_configuration_runs_nothing(tmp_path):
    shown = subprocess.run(
        [sys.executable, str(ROOT / "reproductions" / "table2.py"), "--cfg", "job"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert shown.returncode == 0
    assert "preset: default" in shown.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_cell_stays_the_one_that_was_measured(configured):
    """A setting that comes later may not give every cell a new name: its row would be lost."""
    config = configured("method=finc")
    assert config.preset == "default"
    assert TABLE.cell_of(config) == "default-digits-finc-s0-a7815b54"
    config.preset = "smoke"  # what it was called when its rows were measured
    assert TABLE.cell_of(config) == "smoke-digits-finc-s0-058961ea"
    assert "step" not in identity(config)["method"]
    config.method.step = "paper"
    assert identity(config)["method"]["step"] == "paper"


@pytest.mark.parametrize("name", [name for name, table in tables().items() if table.config])
def test_every_committed_row_has_the_name_of_its_configuration(name):
    table = tables()[name]
    rows = read_table(ROOT / "results" / "data" / f"{name}.csv")
    aside = {"runs": "runs", "results": "results"}
    assert len(rows) >= 10
    for cell, config in zip(rows["cell"], map(json.loads, rows["config"]), strict=True):
        merged = OmegaConf.merge(OmegaConf.structured(table.config), config, aside)
        assert table.cell_of(OmegaConf.to_object(merged)) == cell


def test_a_cell_that_is_not_timed_its_dequantisation_and_pictures(sweep, tmp_path):
    done = sweep(
        "timing.repeats=0", "method=finc", "likelihood.dequantization=variational", "pictures=true"
    )
    assert done.returncode == 0, done.stderr
    row = rows(tmp_path).iloc[0]
    assert row["bpd"] > 0
    assert row["round_trip_error"] < 1e-3
    assert "ft_s" not in row
    assert row["dequantization"] == "variational"
    pictures = {path.name for path in tmp_path.glob("runs/tiny/table2/*/*.png")}
    assert pictures == {"samples.png", "reconstructions.png", "interpolations.png"}
    assert (tmp_path / "runs" / "tiny" / "table2" / "loss-tiny.svg").exists()
    page = tmp_path / "runs" / "tiny" / "results" / "table2.md"
    assert "| FInC, variational " in page.read_text()


def test_two_processes_make_one_row(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(ROOT / "reproductions" / "table2.py"), *SMALL]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(*arguments):
        return subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    done = run("method=finc")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("bpd") == done.stdout.count("1 of 1 cells ok") == 1
    assert len(list(tmp_path.glob("runs/tiny/table2/*/row.json"))) == 1
    again = run("method=finc")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("skipped, done before") == 1
