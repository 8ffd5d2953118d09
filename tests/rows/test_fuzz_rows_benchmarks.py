"""Files of pytest-benchmark, and logs of cells, that are broken or wrong."""

import copy
import json

import pandas as pd
import pytest
from fuzz import JSON, TEXTS, contents, damaged, one_sentence, quiet
from hypothesis import given
from hypothesis import strategies as st

from invconv.__main__ import main
from invconv.curves import loss_curves, read_curve
from invconv.rows import read_table

LABELS = {"operation": "solve", "n": 16, "k": 3, "channels": 12, "batch": 100}
SOLVER = {**LABELS, "layer": "solver", "method": "compiled", "residual": 1e-7, "threads": 2}
STATS = {"median": 1e-3, "q1": 9e-4, "q3": 2e-3, "rounds": 5, "iterations": 1}
HERE = {"machine": "m", "device": "d", "torch": "2", "python": "3", "cuda": None, "tf32": False}
BENCHMARKS = {
    "machine_info": {"node": "x", "invconv": HERE},
    "commit_info": {"id": "abcdef", "dirty": False},
    "datetime": "2026-01-01T00:00:00.123",
    "benchmarks": [
        {"extra_info": SOLVER, "stats": STATS},
        {"extra_info": {**SOLVER, "layer": "glow", "k": None, "method": ""}, "stats": STATS},
        {"extra_info": {}, "stats": STATS},
    ],
}


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "outside").mkdir()
    return tmp_path


def places(value, *path):
    """The path to everything inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inner:
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, *path, key)


def changed(path, value):
    """The file with something else at one place."""
    content = copy.deepcopy(BENCHMARKS)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(content).encode()


def reported(place, content, capsys):
    """The exit code of a report from a file that either adds its rows, or changes nothing."""
    path, results = place / "outside" / "times.json", place / "results"
    path.write_bytes(content)
    before = contents(place)
    code = main(["report", "--from-benchmark", str(path), "--results", str(results)])
    said = capsys.readouterr().err
    after = contents(place)
    made = {file for file in after if before.get(file) != after[file]}
    made.discard(results / "data" / ".benchmark.csv.lock")
    if code:
        assert one_sentence(said.removesuffix("\n"))
        assert not made
    else:
        assert not said
        rows = read_table(results / "data" / "benchmark.csv")
        times = rows[["time_s", "time_q25_s", "time_q75_s", "residual"]]
        assert times.apply(pd.to_numeric).abs().lt(float("inf")).all(axis=None)
    for file in made:
        file.unlink()
    return code


@quiet
@given(data=st.data())
def test_damaged_benchmarks(empty, capsys, data):
    reported(empty, data.draw(damaged(json.dumps(BENCHMARKS, indent=1).encode())), capsys)


@quiet
@given(
    path=st.sampled_from(list(places(BENCHMARKS))),
    value=JSON | st.sampled_from([text for text in TEXTS if text]),
)
def test_benchmarks_with_one_field_of_any_kind(empty, capsys, path, value):
    reported(empty, changed(path, value), capsys)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("commit_info",), [], "holds no times of this repository"),
        (("commit_info",), {}, "holds no times of this repository"),
        (("datetime",), 3, "is no file of pytest-benchmark"),
        (("machine_info", "invconv"), "x", "holds no times of this repository"),
        (("machine_info", "invconv"), {}, "its provenance must name machine, commit and date"),
        (("machine_info", "invconv", "torch"), [], "it cannot hold 'torch' = []"),
        (("benchmarks",), 3, "is no file of pytest-benchmark"),
        (("benchmarks",), [], "holds no times of this repository"),
        (("benchmarks",), [{"extra_info": {}}], "holds no times of this repository"),
        (("benchmarks", 1), [], "benchmark 2: "),
        (("benchmarks", 0, "stats"), {}, "benchmark 1: it lacks 'median'"),
        (("benchmarks", 0, "stats", "median"), "x", "benchmark 1: time_s must be seconds"),
        (("benchmarks", 0, "stats", "median"), float("nan"), "time_s must be seconds, finite"),
        (("benchmarks", 0, "stats", "median"), -1.0, "time_s must be seconds, finite and not"),
        pytest.param(
            ("benchmarks", 0, "stats", "median"), 10**400, "time_s must be seconds", id="huge"
        ),
        (("benchmarks", 0, "stats", "rounds"), True, "rounds must be a number"),
        (("benchmarks", 0, "extra_info", "residual"), None, "residual must be a number"),
        (("benchmarks", 0, "extra_info", "n"), "x", "n must be a number"),
        (("benchmarks", 0, "extra_info", "k"), "x", "k must be a number"),
        (("benchmarks", 0, "extra_info", "layer"), ["a"], "it cannot hold 'layer' = ['a']"),
        (("benchmarks", 0, "extra_info", "operation"), "a/b", "a cell's name is that of a folder"),
    ],
)
def test_benchmarks_that_no_row_can_hold(empty, capsys, path, value, said):
    assert reported(empty, changed(path, value), capsys) == 1
    file = empty / "outside" / "times.json"
    assert main(["report", "--from-benchmark", str(file), "--results", str(empty)]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"[" * 100_000, b"9" * 10_000, b"\xff", b"", b"null"])
def test_benchmarks_that_are_no_json(empty, capsys, content):
    assert reported(empty, content, capsys) == 1


def test_benchmarks_as_they_should_be(empty, capsys):
    assert reported(empty, json.dumps(BENCHMARKS).encode(), capsys) == 0


@pytest.mark.parametrize(
    "log",
    [
        "step,train_bpd,valid_bpd\n1,2.0,x\n",
        "step,train_bpd,valid_bpd\n1,inf,nan\n",
        "step,train_bpd,valid_bpd\n,2.0,3.0\n",
        "step,train_bpd\n1,2.0\n",
        'step,train_bpd,valid_bpd\n1,"2.0\n',
        "\x00",
        "",
        None,
    ],
    ids=range(8),
)
def test_a_broken_log_is_a_cell_without_a_curve(tmp_path, monkeypatch, log):
    drawn = []
    monkeypatch.setattr("invconv.curves.save", lambda figure, path: drawn.append(figure))
    good, bad = tmp_path / "default-digits-finc-s0", tmp_path / "default-digits-glow-s0"
    good.mkdir()
    (good / "log.csv").write_text("step,train_bpd,valid_bpd\n1,2.0,3.0\n2,1.0,\n3,inf,\n")
    (good / "row.json").write_text("broken")
    bad.mkdir()
    (bad / "log.csv").mkdir() if log is None else (bad / "log.csv").write_text(log)
    assert read_curve(bad) is None
    curve = read_curve(good)
    assert (curve.method, curve.dataset, curve.log["step"].tolist()) == (
        "finc",
        "digits",
        [1, 2, 3],
    )
    loss_curves([good, bad], tmp_path / "loss.svg")
    assert drawn[0].get_supxlabel() == "1 of 2 cells have no log"
