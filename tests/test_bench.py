"""Timing, rows, their store, and what happens to cells that fail."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch

from invconv import NumericalError
from invconv.bench import time_flow, time_interleaved, timing
from invconv.bench.flow_timing import verify_round_trip
from invconv.bench.timing import summarize
from invconv.flows import MultiScaleFlow
from invconv.layers import FInC
from invconv.rows import (
    Incorrect,
    Row,
    Unsupported,
    cell_id,
    collect,
    merge,
    provenance,
    read_row,
    read_table,
    table_of,
    write_row,
)
from invconv.rows.provenance import machine, revision
from invconv.solvers import METHODS
from invconv.sweeps.cells import run_cell
from invconv.sweeps.locks import ATTEMPTS, LOCK

CPU = torch.device("cpu")


def test_calls_are_interleaved_after_the_warm_up():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = time_interleaved(calls, CPU, warmup=2, repeats=3)
    assert "".join(order[:4]) == "abab"
    rounds = ["".join(order[i : i + 2]) for i in range(4, 10, 2)]
    assert {"".join(sorted(names)) for names in rounds} == {"ab"}
    assert timings["a"].repeats == 3
    with pytest.raises(ValueError, match="at least 1"):
        time_interleaved(calls, CPU, repeats=0)


def test_median_and_quartiles():
    slow = time_interleaved({"slow": lambda: time.sleep(0.01)}, CPU, 0, 3)["slow"]
    assert 0.01 <= slow.q25 <= slow.median <= slow.q75 < 0.1
    found = summarize([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (found.q25, found.median, found.q75) == (2.0, 3.0, 4.0)


def test_a_flow_is_timed_only_if_its_round_trip_holds():
    flow = MultiScaleFlow("finc", (1, 8, 8), levels=1, steps=1, width=4, bins=17)
    images = torch.randint(17, (6, 1, 8, 8))
    values = time_flow(flow, images, warmup=1, repeats=2)
    assert values["round_trip_error"] < 1e-5
    assert values["timed_images"] == 6
    for name in ("ft", "st", "train_step"):
        assert 0 < values[f"{name}_q25_s"] <= values[f"{name}_s"] <= values[f"{name}_q75_s"]
    assert all(parameter.grad is None for parameter in flow.parameters())
    layer = flow.levels[0][1]
    layer.inverse = lambda z: 2 * z
    with pytest.raises(Incorrect, match="relative error"):
        time_flow(flow, images)


def test_a_training_step_is_timed_alone(monkeypatch):
    """The clock sees neither the change of mode nor the end of the last step's gradients."""
    flow = MultiScaleFlow("finc", (1, 8, 8), levels=1, steps=1, width=4, bins=17)
    clocked, seen = [], []
    clock, log_prob = timing._cpu_clock, flow.log_prob

    def watched(call):
        clocked.append(call)
        seconds = clock(call)
        clocked.pop()
        return seconds

    def outside(function):
        def call(*arguments, **options):
            assert not clocked
            return function(*arguments, **options)

        return call

    def recorded(images):
        dropped = all(parameter.grad is None for parameter in flow.parameters())
        seen.append((flow.training, dropped, bool(clocked)))
        return log_prob(images)

    monkeypatch.setattr(timing, "_cpu_clock", watched)
    for name in ("train", "zero_grad"):
        monkeypatch.setattr(flow, name, outside(getattr(flow, name)))
    monkeypatch.setattr(flow, "log_prob", recorded)
    time_flow(flow, torch.randint(17, (2, 1, 8, 8)), warmup=1, repeats=2)
    steps = [one for one in seen if one[0]]
    assert steps == [(True, True, False), *[(True, True, True)] * 2, (True, True, False)]
    assert not flow.training


def test_a_published_algorithm_that_cannot_run_here_is_not_timed(monkeypatch):
    flow = MultiScaleFlow("finc", (1, 8, 8), levels=1, steps=1, width=4, bins=17).eval()
    images = torch.randint(17, (2, 1, 8, 8))
    arguments = {"warmup": 0, "repeats": 1, "training": False, "published": 1}
    assert "st_published_s" in time_flow(flow, images, **arguments)
    method = replace(METHODS["diagonal_channel"], missing=lambda device: "no compiler")
    monkeypatch.setitem(METHODS, "diagonal_channel", method)
    values = time_flow(flow, images, **arguments)
    assert values["st_s"] > 0
    assert "st_published_s" not in values


def test_a_lossy_round_trip_is_told_from_a_wrong_one(monkeypatch):
    """Rounding vanishes in float64, and so does an overflow; a wrong inverse does not, nor NaN."""
    torch.manual_seed(0)
    flow = MultiScaleFlow("finc", (1, 32, 32), levels=1, steps=2, width=4, bins=17).eval()
    images = torch.randint(17, (6, 1, 32, 32))
    layers = [layer for layer in flow.modules() if isinstance(layer, FInC)]
    with torch.no_grad():
        layers[-1].weight.normal_(0, 0.6)
    errors = verify_round_trip(flow, images)
    assert errors["round_trip_error"] > 1e-3
    assert errors["round_trip_error_float64"] < 1e-6
    inverse = FInC.inverse
    monkeypatch.setattr(FInC, "inverse", lambda layer, z: 1.01 * inverse(layer, z))
    with pytest.raises(Incorrect, match="or of every part alone"):
        verify_round_trip(flow, images)
    monkeypatch.setattr(FInC, "inverse", lambda layer, z: z * torch.nan)
    with pytest.raises(Incorrect, match=r"round_trip_error nan.*part_round_trip_error nan"):
        verify_round_trip(flow, images)

    def overflows(layer, z):
        return inverse(layer, z) * (torch.inf if z.dtype == torch.float32 else 1)

    monkeypatch.setattr(FInC, "inverse", overflows)
    errors = verify_round_trip(flow, images)
    assert errors["round_trip_overflows"] is True
    assert errors["round_trip_error_float64"] < 1e-6
    assert "round_trip_error" not in errors


def test_a_flow_that_loses_more_than_float64_has_is_proved_part_by_part(monkeypatch):
    torch.manual_seed(0)
    flow = MultiScaleFlow("finc", (1, 32, 32), levels=2, steps=8, width=4, bins=17).eval()
    images = torch.randint(17, (4, 1, 32, 32))
    with torch.no_grad():
        for layer in flow.modules():
            if isinstance(layer, FInC):
                layer.weight.normal_(0, 0.3)
    flow.initialize(images)
    errors = verify_round_trip(flow, images)
    assert errors["round_trip_error"] > 1e-3
    assert errors["round_trip_error_float64"] > 1e-6
    assert errors["part_round_trip_error"] < 1e-6
    inverse = FInC.inverse
    monkeypatch.setattr(FInC, "inverse", lambda layer, z: (1 + 1e-5) * inverse(layer, z))
    with pytest.raises(Incorrect, match="of every part alone"):
        verify_round_trip(flow, images)


def test_a_forced_cell_starts_from_nothing(tmp_path):
    def measure(folder):
        left = [entry for entry in folder.iterdir() if entry.name not in (LOCK, ATTEMPTS)]
        (folder / "last.pt").write_text("weights")
        return {"left": len(left)}

    for _ in range(2):
        row, _ = cell(tmp_path, measure, force=True)
        assert row.values["left"] == 0


def test_a_row_of_another_device_is_measured_again(tmp_path):
    row, _ = cell(tmp_path, lambda folder: {"bpd": 1.0})
    other = replace(row, provenance={**row.provenance, "device": "a GPU"})
    write_row(other, tmp_path / "c-1" / "row.json")
    row, measured = cell(tmp_path, lambda folder: {"bpd": 2.0})
    assert (row.values["bpd"], measured) == (2.0, True)


def cell(tmp_path, measure, **kwargs):
    return run_cell(
        "c-1", "t", {"method": "finc"}, {"a": 1}, tmp_path / "c-1", CPU, measure, **kwargs
    )


def test_a_finished_cell_is_skipped_and_a_failed_one_tried_again(tmp_path):
    def fails(folder):
        raise RuntimeError("no\nluck")

    row, measured = cell(tmp_path, fails)
    assert (row.status, row.reason, measured) == ("error", "RuntimeError: no luck", True)
    assert "RuntimeError: no" in (tmp_path / "c-1" / "traceback.txt").read_text()
    row, measured = cell(tmp_path, lambda folder: {"bpd": 2.0})
    assert (row.status, row.values["bpd"], measured) == ("ok", 2.0, True)
    assert not (tmp_path / "c-1" / "traceback.txt").exists()
    row, measured = cell(tmp_path, fails)
    assert (row.values["bpd"], measured) == (2.0, False)
    row, measured = cell(tmp_path, lambda folder: {"bpd": 3.0}, force=True)
    assert (row.values["bpd"], measured) == (3.0, True)
    assert read_row(tmp_path / "c-1" / "row.json") == row
    assert not list(tmp_path.glob("**/*.partial"))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unsupported("needs a GPU"), "unsupported"),
        (Incorrect("wrong"), "incorrect"),
        (NumericalError("overflow"), "incorrect"),
        (MemoryError("too large"), "oom"),
        (torch.OutOfMemoryError("too large"), "oom"),
        (TimeoutError("slow"), "timeout"),
        (ValueError("bad"), "error"),
    ],
)
def test_statuses(tmp_path, error, status):
    def fails(folder):
        raise error

    row, _ = cell(tmp_path, fails)
    assert row.status == status
    assert str(error) in row.reason


def test_ctrl_c_leaves_no_row(tmp_path):
    def interrupted(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cell(tmp_path, interrupted)
    assert read_row(tmp_path / "c-1" / "row.json") is None


def test_cell_id_ignores_the_order_of_keys():
    assert cell_id("a", {"x": 1, "y": 2}) == cell_id("a", {"y": 2, "x": 1})
    assert cell_id("a", {"x": 1}) != cell_id("a", {"x": 2})


def row(cell="a", machine="m", commit="1", status="ok", date="2026-01-01", **values):
    source = {"machine": machine, "commit": commit, "date": date}
    return Row(cell, "t", status, values=values, provenance=source)


def test_merging_keeps_other_machines_and_commits():
    stored = merge(pd.DataFrame(), table_of([row(bpd=1.0), row(machine="other", bpd=2.0)]))
    merged = merge(stored, table_of([row(bpd=3.0, date="2026-01-02"), row(commit="2", bpd=4.0)]))
    found = {(r.machine, r.commit): r.bpd for r in merged.itertuples()}
    assert found == {("m", "1"): 3.0, ("other", "1"): 2.0, ("m", "2"): 4.0}


def test_an_ok_row_outlives_a_newer_failure():
    merged = merge(
        pd.DataFrame(), table_of([row(bpd=1.0), row(status="error", date="2027-01-01")])
    )
    assert merged["status"].tolist() == ["ok"]
    merged = merge(merged, table_of([row(bpd=2.0, date="2026-06-01")]))
    assert merged["bpd"].tolist() == [2.0]


def test_collecting_is_idempotent(tmp_path):
    for name in "ab":
        write_row(row(cell=name, bpd=0.1 + 0.2), tmp_path / "runs" / name / "row.json")
    path = tmp_path / "data" / "t.csv"
    first = collect(tmp_path / "runs", path)
    text = path.read_text()
    second = collect(tmp_path / "runs", path)
    assert path.read_text() == text
    pd.testing.assert_frame_equal(first, second)
    assert first["bpd"].tolist() == [0.1 + 0.2] * 2
    assert read_table(tmp_path / "none.csv").empty
    assert collect(tmp_path / "nothing", tmp_path / "empty.csv").empty


def test_a_commit_of_digits_stays_text(tmp_path):
    write_row(row(commit="0012345678"), tmp_path / "runs" / "a" / "row.json")
    frame = collect(tmp_path / "runs", tmp_path / "t.csv")
    assert frame["commit"].tolist() == ["0012345678"]


def test_provenance(monkeypatch, tmp_path):
    found = provenance(CPU)
    assert json.dumps(found)
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    monkeypatch.setenv("INVCONV_MACHINE", "cluster node")
    assert machine() == "cluster node"
    monkeypatch.setenv("INVCONV_COMMIT", "abc")
    revision.cache_clear()
    assert revision()[0] != "abc"
    monkeypatch.setattr(sys.modules["invconv.rows.provenance"], "ROOT", tmp_path)
    revision.cache_clear()
    assert revision() == ("abc", False)
    revision.cache_clear()


def test_what_sweeps_write_is_no_change_of_the_code(monkeypatch, tmp_path):
    def changes():
        revision.cache_clear()
        return revision()[1]

    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True, capture_output=True)

    monkeypatch.setattr(sys.modules["invconv.rows.provenance"], "ROOT", tmp_path)
    names = ("code.py", "README.md", "results/table2.md")
    (tmp_path / "results").mkdir()
    for name in names:
        (tmp_path / name).write_text("")
    git("init")
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-m", "t")
    found = {}
    for name in reversed(names):
        (tmp_path / name).write_text("more")
        found[name] = changes()
    revision.cache_clear()
    assert found == {"results/table2.md": False, "README.md": False, "code.py": True}
