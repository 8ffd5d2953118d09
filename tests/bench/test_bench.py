"""What is timed of a flow, rows and their store, and what happens to cells that fail."""

import gzip
import json
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch

from invconv import NumericalError
from invconv.bench import Clock, Process, clock, time_block, time_calls
from invconv.bench.flow_timing import (
    KINDS,
    RARE,
    FlowCalls,
    flow_ratios,
    time_flows,
    use_method,
    verify_flow,
)
from invconv.bench.verification import verify_round_trip
from invconv.flows import MultiScaleFlow
from invconv.layers import FInC
from invconv.rows import (
    Block,
    Incorrect,
    Part,
    Row,
    RowsError,
    Status,
    Unsupported,
    cell_id,
    collect,
    merge,
    newest,
    read_row,
    read_samples,
    read_table,
    samples_path,
    table_of,
    write_row,
)
from invconv.rows.provenance import machine, provenance, revision
from invconv.rows.samples import COLUMNS, OF_ROW, SAMPLES, write_samples
from invconv.rows.status import NotBegun
from invconv.solvers import METHODS
from invconv.sweeps import states
from invconv.sweeps.cells import BEFORE, run_cell
from invconv.sweeps.locks import ATTEMPTS, LOCK
from invconv.validation import UnsupportedShape

CPU = torch.device("cpu")
ONCE = Clock(rounds=1, warmup=0, window=0)


def small_flow(conv="finc"):
    return MultiScaleFlow(conv, (1, 8, 8), levels=1, steps=1, width=4, bins=17).eval()


def small_images(count):
    return torch.randint(17, (count, 1, 8, 8))


def build_flow(name):
    """A flow, or one whose first convolution has a wrong inverse."""
    flow = small_flow("glow" if name == "glow" else "finc")
    if name == "wrong":
        flow.levels[0][1].inverse = lambda z: 2 * z
    return flow, {"stored": sum(p.numel() for p in flow.parameters())}


def time_three(images, device, process):
    """Times FInC, Glow and a wrong flow, four of the images."""
    names = ("finc", "wrong", "glow")
    return time_flows(names, build_flow, images, 4, ONCE, process, "finc", "method")


def test_a_flow_is_timed_only_if_its_round_trip_holds(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)  # so that this process times
    block = time_block(time_three, small_images(6), CPU, ONCE, flow_ratios("finc"))
    assert list(block.parts) == ["finc", "wrong", "glow"]
    for name in ("finc", "glow"):
        part = block.parts[name]
        values = part.values
        assert part.status == "ok" and part.labels == {"method": name}
        assert values["round_trip_error"] < 1e-5 and values["stored"] > 0
        assert values["timed_images"] == 4 and values["samples_not_finite"] == 0
        for kind in ("ft", "ft_cold", "st", "train_step"):
            q25, median, q75 = (values[f"{kind}{end}_s"] for end in ("_q25", "", "_q75"))
            assert 0 < q25 <= median <= q75
    wrong = block.parts["wrong"]
    assert wrong.status == "incorrect" and "relative error" in wrong.reason
    assert not wrong.values
    assert not block.samples["call"].str.startswith("wrong/").any()
    finc, glow = block.parts["finc"].values, block.parts["glow"].values
    assert glow["st_vs_finc"] == pytest.approx(glow["st_s"] / finc["st_s"])
    assert finc["aa_st"] == pytest.approx(finc["st_again_s"] / finc["st_s"])
    assert finc["st_published_vs_st"] == pytest.approx(finc["st_published_s"] / finc["st_s"])
    assert "st_vs_finc" not in finc
    assert not {"aa_st", "st_published_s"} & set(glow)  # Glow's inverse has no algorithm of 1×1


def test_a_later_process_neither_verifies_nor_times_what_the_first_one_refused(monkeypatch):
    verified = []
    monkeypatch.setattr(
        "invconv.bench.flow_timing.verify_flow", lambda *given: verified.append(given) or {}
    )
    again = time_three(small_images(2), CPU, Process(1, frozenset({"wrong"})))
    assert set(again.parts) == {"finc", "glow"} and not verified
    assert not again.timed[0].samples["call"].str.startswith("wrong/").any()
    time_three(small_images(2), CPU, Process())
    assert len(verified) == 3


def test_a_training_step_is_timed_alone(monkeypatch):
    """The clock sees neither the change of mode nor the end of the last step's gradients."""
    flow, clocked, seen = small_flow(), [], {kind: [] for kind in KINDS}
    original, log_prob, sample = clock.cpu_clock, flow.log_prob, flow.sample
    prepared = []

    def watched(call):
        clocked.append(call)
        seconds = original(call)
        clocked.pop()
        return seconds

    def outside(function):
        def call(*arguments, **options):
            assert not clocked
            return function(*arguments, **options)

        return call

    def recorded(function):
        def call(*arguments, **options):
            dropped = all(parameter.grad is None for parameter in flow.parameters())
            method = flow.levels[0][1].inverse_method
            grads = torch.is_grad_enabled()
            now = flow.training, grads, dropped, method, bool(clocked)
            seen[prepared[-1]].append(now)
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(clock, "cpu_clock", watched)
    for name in ("train", "zero_grad"):
        monkeypatch.setattr(flow, name, outside(getattr(flow, name)))
    monkeypatch.setattr("invconv.bench.flow_timing.use_method", outside(use_method))
    monkeypatch.setattr(flow, "log_prob", recorded(log_prob))
    monkeypatch.setattr(flow, "sample", recorded(sample))
    calls = FlowCalls(flow, small_images(2))
    before = calls.before
    monkeypatch.setattr(calls, "before", lambda kind: prepared.append(kind) or before(kind))
    rounds = Clock(rounds=2, warmup=1, window=0)
    time_calls(calls.calls, CPU, rounds, few=RARE, before=calls.before)
    eager = (False, True, True)  # training, with gradients, without those of the step before
    assert seen["train_step"] == [(True, True, True, "auto", True)] * 3
    assert {now[:2] for now in seen["ft"]} == {(False, False)}
    assert {now[:2] for now in seen["ft_cold"]} == {(True, False)}
    assert seen["st"] == [(*eager, "auto", True)] * 3
    assert seen["st_published"] == [(*eager, "published", True)] * 3
    values = calls.after()
    assert seen["train_step"][3:] == [(True, True, True, "auto", False)]
    assert values["train_step_extra_bytes"] is None or values["train_step_extra_bytes"] >= 0
    assert not flow.training
    assert all(parameter.grad is None for parameter in flow.parameters())


def test_images_that_are_not_finite_are_counted(monkeypatch):
    flow = small_flow()
    calls = FlowCalls(flow, small_images(4), ["st"])
    left = iter([4, 1, 3])
    monkeypatch.setattr(flow, "sample", lambda count, only_finite: torch.zeros(next(left)))
    for _ in range(3):
        calls.calls["st"]()
    assert calls.after() == {"timed_images": 4, "samples_not_finite": 3}


def test_a_published_algorithm_that_cannot_run_here_is_not_timed(monkeypatch):
    flow, images = small_flow(), small_images(2)
    flow.initialize(images)
    assert "st_published" in FlowCalls(flow, images).calls
    assert verify_flow(flow, images)["published_round_trip"] < 1e-5
    method = replace(METHODS["diagonal_channel"], missing=lambda device: "no compiler")
    monkeypatch.setitem(METHODS, "diagonal_channel", method)
    assert set(FlowCalls(flow, images).calls) == {*KINDS} - {"st_published"}
    assert not [name for name in verify_flow(flow, images) if name.startswith("published")]
    assert not use_method(flow, "published")
    assert flow.levels[0][1].inverse_method == "auto"


def test_a_lossy_round_trip_is_told_from_a_wrong_one(monkeypatch):
    """Rounding vanishes in float64, and so does an overflow; a wrong inverse does not, nor NaN."""
    torch.manual_seed(0)
    flow = MultiScaleFlow("finc", (1, 32, 32), levels=1, steps=2, width=4, bins=17).eval()
    images = torch.randint(17, (6, 1, 32, 32))
    layers = [layer for layer in flow.modules() if isinstance(layer, FInC)]
    with torch.no_grad():
        layers[-1].weight.normal_(0, 0.8)
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
        names = {entry.name for entry in folder.iterdir()} - {LOCK, ATTEMPTS}
        left = [name for name in names if not name.endswith(BEFORE)]  # brought back if it fails
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
        (UnsupportedShape("odd"), "unsupported"),
        (RuntimeError("bad"), "error"),
    ],
)
def test_statuses(tmp_path, error, status):
    def fails(folder):
        raise error

    row, _ = cell(tmp_path, fails)
    assert row.status == status
    assert str(error) in row.reason


@pytest.mark.parametrize(
    "error", [ValueError("bad"), TypeError("no option"), FileNotFoundError("no data"), KeyError(1)]
)
def test_a_cell_that_cannot_begin_leaves_no_row(tmp_path, error):
    def fails(folder):
        raise error

    folder = tmp_path / "c-1"
    write_row(replace(row(), status=Status.ERROR), folder / "row.json")  # of an earlier version
    with pytest.raises(NotBegun, match=str(error)):
        cell(tmp_path, fails)
    assert not (folder / "row.json").exists()
    assert str(error) in (folder / "traceback.txt").read_text()
    state = states.state(tmp_path, "c-1")
    assert (state.status, str(error) in state.words) == ("refused", True)


def test_force_deletes_no_result_that_cannot_be_measured_again(tmp_path):
    def trains(folder):
        (folder / "last.pt").write_text("weights")
        return {"bpd": 1.0}

    def has_no_data(folder):
        (folder / "log.csv").touch()
        raise FileNotFoundError("no data")

    row, _ = cell(tmp_path, trains)
    with pytest.raises(NotBegun):
        cell(tmp_path, has_no_data, force=True)
    assert read_row(tmp_path / "c-1" / "row.json") == row
    assert (tmp_path / "c-1" / "last.pt").read_text() == "weights"
    row, _ = cell(
        tmp_path, lambda folder: {"bpd": float((folder / "last.pt").exists())}, force=True
    )
    assert row.values["bpd"] == 0.0
    assert not list((tmp_path / "c-1").glob("*.before"))


def samples_of(*calls, seconds=0.125):
    """Two rounds of each call, in one process."""
    lines = [(call, 0, number, 0, True, seconds) for number in range(2) for call in calls]
    return pd.DataFrame(lines, columns=COLUMNS)


def block_of(noisy="", **parts):
    """A block whose parts have these statuses."""
    found = {}
    for name, status in parts.items():
        ok = status == "ok"
        values = {"st_s": 0.125 * len(name)} if ok else {}
        reason = "" if ok else f"{name} failed"
        found[name] = Part({"method": name}, values, Status(status), reason)
    good = [f"{name}/st" for name, part in found.items() if part.values]
    return Block({"processes": 1}, found, samples_of(*good), noisy)


def test_the_parts_of_a_block_are_lines_of_their_own(tmp_path):
    row, measured = cell(tmp_path, lambda folder: block_of(finc="ok", glow="ok"))
    assert measured and (row.status, row.reason) == ("ok", "")
    assert row == read_row(tmp_path / "c-1" / "row.json")
    first, second = row.lines()
    assert (first["cell"], second["cell"]) == ("c-1/finc", "c-1/glow")
    assert (first["method"], second["method"]) == ("finc", "glow")  # not the label of the cell
    assert (first["st_s"], second["st_s"]) == (0.5, 0.5)
    for line in (first, second):
        assert (line["table"], line["status"], line["reason"]) == ("t", "ok", "")
        assert line["processes"] == 1 and line["machine"] == machine()
        assert line["duration_s"] == row.values["duration_s"]
        assert json.loads(line["config"]) == {"a": 1}
    frame = table_of([row, replace(row, cell="d-2", parts={})])
    assert frame["cell"].tolist() == ["c-1/finc", "c-1/glow", "d-2"]
    again, measured = cell(tmp_path, lambda folder: block_of(finc="error"))
    assert again == row and not measured


@pytest.mark.parametrize("status", ["incorrect", "unsupported", "oom", "timeout", "error"])
def test_a_part_that_fails_gives_the_row_its_status(tmp_path, status):
    row, _ = cell(tmp_path, lambda folder: block_of(finc="ok", glow=status, cinc="error"))
    assert (row.status, row.reason) == (status, "glow: glow failed")
    finc, glow, cinc = row.lines()
    assert (finc["status"], finc["reason"], finc["st_s"]) == ("ok", "", 0.5)
    assert (glow["status"], glow["reason"]) == (status, "glow failed")
    assert cinc["status"] == "error"
    assert "st_s" not in glow
    assert (tmp_path / "c-1" / SAMPLES).is_file()
    row, measured = cell(tmp_path, lambda folder: block_of(finc="ok", glow="ok"))
    assert measured and row.status == "ok"


def test_a_noisy_block_carries_values_and_is_measured_again(tmp_path):
    row, _ = cell(tmp_path, lambda folder: block_of("others computed", finc="ok", glow="ok"))
    assert (row.status, row.reason) == ("noisy", "others computed")
    for line in row.lines():
        assert (line["status"], line["reason"]) == ("noisy", "others computed")
        assert line["st_s"] == 0.5
    path = tmp_path / "results" / "data" / "t.csv"
    frame = collect(tmp_path, path)
    assert frame["st_s"].tolist() == [0.5, 0.5]
    assert len(read_samples(samples_path(path))) == 4
    row, measured = cell(tmp_path, lambda folder: block_of(finc="ok", glow="ok"))
    assert measured and row.status == "ok"


def test_of_a_noisy_block_the_parts_that_failed_say_why(tmp_path):
    row, _ = cell(tmp_path, lambda folder: block_of("others computed", finc="ok", glow="oom"))
    assert (row.status, row.reason) == ("oom", "glow: glow failed")
    found = {line["method"]: (line["status"], line["reason"]) for line in row.lines()}
    assert found == {"finc": ("noisy", "others computed"), "glow": ("oom", "glow failed")}


def test_a_block_without_parts_is_one_line(tmp_path):
    block = Block({"inverse_s": 0.25}, {}, samples_of("inverse"))
    row, _ = cell(tmp_path, lambda folder: block)
    (line,) = row.lines()
    assert (line["cell"], line["status"], line["inverse_s"]) == ("c-1", "ok", 0.25)
    row, _ = cell(tmp_path, lambda folder: replace(block, noisy="others computed"), force=True)
    (line,) = row.lines()
    assert (line["status"], line["reason"]) == ("noisy", "others computed")
    assert line["inverse_s"] == 0.25


def test_the_samples_of_a_cell_are_beside_its_row(tmp_path):
    def fails(folder):
        raise RuntimeError("no luck")

    block = block_of("others computed", finc="ok")
    block.samples.loc[0, "seconds"] = 0.123456789
    cell(tmp_path, lambda folder: block)
    path = tmp_path / "c-1" / SAMPLES
    found = read_samples(path)
    assert found["seconds"].tolist() == [0.12346, 0.125]
    others = [name for name in COLUMNS if name != "seconds"]
    pd.testing.assert_frame_equal(found[others], block.samples[others], check_dtype=False)
    row, _ = cell(tmp_path, fails)
    assert row.status == "error" and not row.parts
    assert not path.exists()  # they are not those of this row
    assert not list(tmp_path.glob("**/*.partial"))


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


def test_nothing_to_collect_is_an_empty_table(tmp_path):
    assert read_table(tmp_path / "none.csv").empty
    path = tmp_path / "results" / "data" / "t.csv"
    assert collect(tmp_path / "nothing", path).empty
    assert not samples_path(path).exists()
    assert newest(read_table(path)).empty


def test_a_block_that_failed_as_a_whole_is_replaced_by_its_parts():
    whole = row(status="error", date="2026-01-01")
    measured = replace(
        row(date="2026-01-02"), parts={name: Part(values={"st_s": 1.0}) for name in ("x", "y")}
    )
    stored = merge(pd.DataFrame(), table_of([whole, row(cell="b", status="error")]))
    assert stored["cell"].tolist() == ["a", "b"]
    merged = merge(stored, table_of([measured]))
    assert merged["cell"].tolist() == ["a/x", "a/y", "b"]
    merged = merge(merged, table_of([replace(whole, provenance=measured.provenance)]))
    assert merged["cell"].tolist() == ["a/x", "a/y", "b"]  # ok parts outlive a newer failure
    other = table_of([row(machine="other", status="error"), row(commit="2", status="error")])
    merged = merge(merged, other)  # nor does one of another machine or commit stand beside them
    assert merged["cell"].tolist() == ["a/x", "a/y", "b"]
    oom = table_of([row(machine="other", status="oom")])
    assert merge(merged, oom)["cell"].tolist() == ["a", "a/x", "a/y", "b"]
    found = newest(merge(merged, oom))[["cell", "machine"]].sort_values(["cell", "machine"])
    expected = [["a", "other"], ["a/x", "m"], ["a/y", "m"], ["b", "m"]]
    assert found.to_numpy().tolist() == expected


def sampled(runs, name, date="2026-01-01T00:00:00Z", machine="m", seconds=0.125):
    """A cell with one part that was timed in two rounds."""
    source = {"machine": machine, "commit": "0012345678", "date": date}
    part = Part({"method": "finc"}, {"st_s": seconds})
    write_row(
        Row(name, "t", Status.OK, provenance=source, parts={"finc": part}), runs / "row.json"
    )
    write_samples(samples_of("finc/st", seconds=seconds), runs / SAMPLES)


def test_samples_are_collected_beside_the_rows(tmp_path):
    path = tmp_path / "results" / "data" / "t.csv"
    for name in "ba":
        sampled(tmp_path / "runs" / name, name)
    collect(tmp_path / "runs", path)
    where = samples_path(path)
    assert where == tmp_path / "results" / "data" / "samples" / "t.csv.gz"
    found = read_samples(where)
    assert found["cell"].tolist() == ["a", "a", "b", "b"]
    assert list(found.columns) == [*OF_ROW, *COLUMNS]
    assert set(found["commit"]) == {"0012345678"}
    assert found["round"].tolist() == [0, 1, 0, 1]


def test_samples_of_machines_and_runs_are_merged(tmp_path):
    """Those that are there stay, whatever the machine is called."""
    path = tmp_path / "results" / "data" / "t.csv"
    sampled(tmp_path / "one" / "a", "a", machine="7")
    sampled(tmp_path / "two" / "a", "a", machine="8", seconds=0.25)
    for runs in ("one", "two", "none", "two"):
        collect(tmp_path / runs, path)
    found = read_samples(samples_path(path)).astype({"machine": str})
    times = found.groupby("machine")["seconds"].agg(list).to_dict()
    assert times == {"7": [0.125, 0.125], "8": [0.25, 0.25]}


def test_collecting_samples_is_idempotent_byte_for_byte(tmp_path):
    contents = []
    for folder in ("one", "one", "two"):
        path = tmp_path / folder / "data" / "t.csv"
        for name in "ab":
            sampled(tmp_path / "runs" / name, name, seconds=1 / 3)
        collect(tmp_path / "runs", path)
        contents.append(samples_path(path).read_bytes())
    texts = [gzip.decompress(content) for content in contents]
    assert texts[0] == texts[1] == texts[2]
    assert contents[0] == contents[1] == contents[2]


def test_samples_whose_row_is_gone_are_dropped(tmp_path):
    path = tmp_path / "results" / "data" / "t.csv"
    for name in "ab":
        sampled(tmp_path / "runs" / name, name)
    collect(tmp_path / "runs", path)
    sampled(tmp_path / "later" / "a", "a", date="2026-01-02T00:00:00Z", seconds=0.25)
    collect(tmp_path / "later", path)
    found = read_samples(samples_path(path))
    assert found.groupby("cell")["seconds"].agg(list).to_dict() == {
        "a": [0.25, 0.25],
        "b": [0.125, 0.125],
    }
    rows = read_table(path)
    rows[rows["cell"] != "b/finc"].to_csv(path, index=False)
    collect(tmp_path / "nothing", path)
    assert set(read_samples(samples_path(path))["cell"]) == {"a"}


def test_samples_of_another_table_are_not_taken(tmp_path):
    path = tmp_path / "results" / "data" / "u.csv"
    sampled(tmp_path / "runs" / "a", "a")
    write_row(replace(row(cell="c"), table="u"), tmp_path / "runs" / "c" / "row.json")
    assert collect(tmp_path / "runs", path, "u")["cell"].tolist() == ["c"]
    assert read_samples(samples_path(path)).empty


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"call,round\nst,0\n", mtime=0), gzip.compress(b"\xff")[:-9]],
    ids=["empty", "no gzip", "no samples", "truncated"],
)
def test_samples_that_cannot_be_read_are_refused(tmp_path, content):
    path = tmp_path / "t.csv.gz"
    assert read_samples(path).empty
    path.write_bytes(content)
    with pytest.raises(RowsError, match="holds no samples") as caught:
        read_samples(path)
    assert str(path) in str(caught.value)


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
