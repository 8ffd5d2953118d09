"""The benchmarks as a contributor runs them: saved, compared, refused, and turned into rows."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
import torch

from invconv.__main__ import main
from invconv.report.entries import with_quartiles
from invconv.rows.provenance import ROOT, provenance
from invconv.tables.benchmark import TABLE

SOLVER = ROOT / "tests" / "benchmarks" / "test_solver_times.py"
FAIL = "--benchmark-compare-fail=median:25%"  # as the README has it


def run(folder, *options, solver=None, which="compiled and 16-3"):
    """pytest --benchmark-only on a few benchmarks of the solver, saved below a folder."""
    changed = ("-p", "changed_solver") if solver else ()
    alone = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    environment = alone | {
        "PYTHONPATH": str(ROOT / "tests"),
        "CHANGED_SOLVER": solver or "",
        "OMP_NUM_THREADS": "1",
    }
    command = ["-m", "pytest", "--benchmark-only", "-q"]
    return subprocess.run(
        [sys.executable, *command, *changed, *options, str(SOLVER), "-k", which],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder with the times of the code as it is."""
    folder = tmp_path_factory.mktemp("benchmarks")
    done = run(folder, "--benchmark-save=before", "--benchmark-group-by=param:n")
    assert done.returncode == 0, done.stdout
    assert "benchmark 'n=16': 2 tests" in done.stdout
    return folder


def test_a_slower_solver_is_flagged_by_the_documented_comparison(saved):
    done = run(saved, "--benchmark-compare", FAIL, solver="slow", which="solve-compiled-16-3")
    assert done.returncode != 0
    assert "Performance has regressed" in done.stdout + done.stderr
    assert "solve compiled n=16 k=3" in done.stdout


@pytest.mark.slow
def test_the_same_solver_is_not(saved):
    loose = FAIL.replace("25%", "300%")  # other tests may run beside this one
    done = run(saved, "--benchmark-compare", loose, which="solve-compiled-16-3")
    assert done.returncode == 0, done.stdout


def test_a_wrong_result_is_not_timed(tmp_path):
    path = tmp_path / "times.json"
    done = run(tmp_path, f"--benchmark-json={path}", solver="wrong")
    assert done.returncode == 1
    assert "not timed: the result is wrong, its residual is 1.0e-02" in done.stdout
    (timed,) = json.loads(path.read_text())["benchmarks"]
    assert timed["extra_info"]["operation"] == "convolve"


def test_a_file_becomes_rows_and_a_page(saved, tmp_path, capsys):
    (path,) = saved.rglob("*before.json")
    content = json.loads(path.read_text())
    by_operation = {entry["extra_info"]["operation"]: entry for entry in content["benchmarks"]}
    for _ in range(2):  # again replaces, adds nothing
        assert main(["report", "--from-benchmark", str(path), "--results", str(tmp_path)]) == 0
    assert "2 rows added" in capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "data" / "benchmark.csv", dtype={"commit": str})
    assert len(rows) == 2
    here = provenance(torch.device("cpu"))
    for _, row in rows.iterrows():
        entry = by_operation[row["operation"]]
        assert row["time_s"] == pytest.approx(entry["stats"]["median"])
        assert row["time_q25_s"] == pytest.approx(entry["stats"]["q1"])
        assert row["residual"] < 1e-5
        assert (row["n"], row["k"], row["threads"]) == (16, 3, 1)
        for name in ("machine", "torch", "python", "isa"):
            assert row[name] == here[name], name
        assert row["commit"] == content["commit_info"]["id"]
        assert row["dirty"] == content["commit_info"]["dirty"]
        assert json.loads(row["config"])["method"] == row["solver"] == "compiled"
    text = " ".join((tmp_path / "benchmark.md").read_text().split())
    solve = rows[rows["operation"] == "solve"].iloc[0]
    shown = [1e3 * solve[f"time{part}_s"] for part in ("", "_q25", "_q75")]
    assert with_quartiles(*shown) in text
    figures = {one["title"]: one for plot in TABLE.plots for one in plot.figures(rows, ())}
    (point,) = figures["solve: time against n"]["points"]
    assert (point["x"], point["y"]) == (16, pytest.approx(1e3 * solve["time_s"]))


def test_files_of_others_are_refused_in_one_sentence(tmp_path, capsys):
    path = tmp_path / "file.json"
    foreign = {"machine_info": {}, "commit_info": {}, "benchmarks": [], "datetime": "2026-01-01"}
    for content, said in (
        (None, "is no file of pytest-benchmark"),
        ("{", "is no file of pytest-benchmark"),
        ("{}", "is no file of pytest-benchmark"),
        (json.dumps(foreign), "holds no times of this repository"),
    ):
        if content is not None:
            path.write_text(content)
        assert main(["report", "--from-benchmark", str(path), "--results", str(tmp_path)]) == 1
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "data").exists()
