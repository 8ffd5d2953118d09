"""Claims: who works on a cell, and who may take over."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
import torch

from invconv.bench import alone
from invconv.rows import read_row, read_table
from invconv.sweeps import claims, processes, states
from invconv.sweeps.cells import run_cell
from invconv.sweeps.claims import Claim, ClaimLost, Held, holder, newest_claim, read_claim

CPU = torch.device("cpu")
HOLDER = """
import sys, time
from pathlib import Path
from invconv.sweeps.claims import Claim
with Claim(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def foreign(folder, **changes):
    """A claim of a process on another machine, which beat last at some time."""
    silent = changes.pop("silent", 0.0)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "claim.0"
    path.write_text(json.dumps({**processes.myself(), "pids": "elsewhere", **changes}))
    age(path, silent)
    return path


def test_one_holds_and_the_other_is_told_who(tmp_path):
    with Claim(tmp_path) as claim:
        with pytest.raises(Held, match=f"process {os.getpid()} on "), Claim(tmp_path):
            pass
        assert holder(tmp_path).startswith(f"process {os.getpid()}")
        claim.outcome = "ok"
    assert holder(tmp_path) == ""
    assert read_claim(tmp_path / "claim.0")["outcome"] == "ok"
    with Claim(tmp_path) as claim:
        assert claim.previous["outcome"] == "ok"
    assert states.attempts(tmp_path) == ["ok", "interrupted"]


def test_a_dead_process_of_this_machine_holds_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(Held, match=f"process {process.pid} "), Claim(tmp_path):
        pass
    os.kill(process.pid, signal.SIGSTOP)
    age(tmp_path / "claim.0", 1e6)
    with pytest.raises(Held), Claim(tmp_path):  # asleep, but it will go on
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    with Claim(tmp_path):
        assert newest_claim(tmp_path)[0] == 1
    assert states.attempts(tmp_path) == ["died", "interrupted"]


def test_processes_are_known_without_proc(monkeypatch, tmp_path):
    """As on macOS, where ps tells what /proc does on Linux."""
    monkeypatch.setattr(processes, "PROC", tmp_path)
    me = processes.myself()
    assert me["started"] and processes.lives_here(me)
    assert not processes.lives_here({**me, "started": "Mon Jan  1 00:00:00 2001"})
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    it = {**me, "pid": child.pid, "started": processes._started(child.pid)}
    assert processes.lives_here(it)
    child.stdin.close()
    deadline = time.monotonic() + 60
    while processes.lives_here(it):  # until there is but its corpse, since nobody has waited
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert child.returncode is None
    child.wait()
    assert not processes.lives_here(it)


def test_a_signal_is_found_where_there_are_no_real_time_signals(monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(signal, "SIGRTMIN")
    spec = importlib.util.spec_from_file_location("claims_of_macos", claims.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.SUPERSEDED == signal.SIGUSR1


def test_a_number_that_another_process_has_now_is_not_the_holder(tmp_path):
    path = foreign(tmp_path, pids=processes.process_table(), pid=os.getpid(), started="1")
    assert holder(tmp_path) == ""
    path.write_text(json.dumps(processes.myself()))
    assert holder(tmp_path)


@pytest.mark.parametrize(
    ("silent", "job", "gone", "held"),
    [
        (0, "", False, True),
        (claims.GONE_AFTER_S + 5, "", False, True),
        (claims.STALE_AFTER_S + 5, "", False, False),
        (0, "7_1", True, True),
        (claims.GONE_AFTER_S + 5, "7_1", True, False),
        (claims.GONE_AFTER_S + 5, "7_1", False, True),
    ],
)
def test_a_process_elsewhere_is_judged_by_its_heartbeat_and_its_job(
    tmp_path, monkeypatch, silent, job, gone, held
):
    monkeypatch.setattr(claims, "ran_out", lambda number: gone and number == job)
    foreign(tmp_path, job=job, silent=silent)
    assert bool(holder(tmp_path)) == held


def test_a_requeued_job_takes_over_from_itself(tmp_path, monkeypatch):
    foreign(tmp_path, job="7_1", silent=claims.GONE_AFTER_S + 5)
    monkeypatch.setattr(claims, "ran_out", lambda job: False)
    assert holder(tmp_path)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert holder(tmp_path) == ""


def test_whether_a_job_runs_is_asked_of_squeue(tmp_path, monkeypatch):
    def squeue(text, code):
        script = tmp_path / "squeue"
        script.write_text(f"#!/bin/sh\necho '{text}'\necho '{text}' >&2\nexit {code}\n")
        script.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for text, code, out in (
        ("1 RUNNING", 0, False),
        ("", 0, True),
        ("slurm_load_jobs error: Invalid job id specified", 1, True),
        ("Unable to contact slurm controller", 1, False),
    ):
        squeue(text, code)
        assert processes.ran_out("1") is out
    monkeypatch.setenv("PATH", "")
    assert processes.ran_out("1") is False


def test_a_claim_that_is_being_written_is_held_until_its_maker_must_be_dead(tmp_path):
    (tmp_path / "claim.0").touch()
    assert holder(tmp_path) == "another process"
    age(tmp_path / "claim.0", claims.GONE_AFTER_S + 5)
    assert holder(tmp_path) == ""


def test_whoever_may_be_dead_is_given_time_to_show_a_heartbeat(tmp_path):
    path = foreign(tmp_path, silent=claims.GONE_AFTER_S - 50)
    beat = threading.Timer(0.3, os.utime, [path])
    beat.start()
    with pytest.raises(Held), Claim(tmp_path):
        pass
    beat.join()
    age(path, claims.STALE_AFTER_S - 1)
    with pytest.raises(Held), Claim(tmp_path):
        pass
    age(path, claims.STALE_AFTER_S + 1)
    with Claim(tmp_path):
        pass


def test_heartbeats(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_S", 0.02)
    with Claim(tmp_path) as claim:
        age(claim.path, 1e4)
        deadline = time.monotonic() + 60
        while time.time() - claim.path.stat().st_mtime > 1000:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def run(folder, measure, **options):
    return run_cell("c", "t", {}, {}, folder, CPU, measure, **options)


@pytest.mark.parametrize(
    ("interrupts", "superseded"),
    [
        (signal.default_int_handler, claims.SUPERSEDED),
        (signal.SIG_IGN, claims.SUPERSEDED),
        (signal.SIG_IGN, signal.SIGUSR1),
    ],
)
def test_a_cell_that_was_taken_over_is_interrupted_and_leaves_no_row(
    tmp_path, monkeypatch, interrupts, superseded
):
    """Also in the background of a script, where a shell has SIGINT ignored, and on macOS."""
    monkeypatch.setattr(claims, "BEAT_S", 0.02)
    monkeypatch.setattr(claims, "SUPERSEDED", superseded)
    before = signal.signal(signal.SIGINT, interrupts)

    def measure(folder):
        (folder / "claim.1").write_text(json.dumps(processes.myself()))
        time.sleep(60)

    try:
        with pytest.raises(ClaimLost, match="out of reach for more than 15 minutes"):
            run(tmp_path, measure)
    finally:
        signal.signal(signal.SIGINT, before)
    assert read_row(tmp_path / "row.json") is None


def test_a_row_of_one_who_was_superseded_is_not_written(tmp_path):
    def measure(folder):
        (folder / "claim.1").write_text(json.dumps(processes.myself()))
        return {"bpd": 1.0}

    with pytest.raises(ClaimLost):
        run(tmp_path, measure)
    assert read_row(tmp_path / "row.json") is None


def test_force_starts_anew_once_though_the_job_is_requeued(tmp_path, monkeypatch):
    found = []

    def measure(folder):
        found.append((folder / "last.pt").exists())
        (folder / "last.pt").touch()
        if len(found) == 1:
            raise KeyboardInterrupt
        return {}

    monkeypatch.setenv("SLURM_JOB_ID", "12")
    (tmp_path / "last.pt").touch()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, measure, force=True)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert run(tmp_path, measure, force=True)[0].status == "ok"
    assert found == [False, True]


def test_jobs_of_one_sweep_on_unlike_nodes_repeat_nothing(tmp_path, monkeypatch):
    row, _ = run(tmp_path, lambda folder: {})
    assert row.status == "ok"
    monkeypatch.setattr("invconv.sweeps.cells.device_name", lambda device: "another node")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert run(tmp_path, lambda folder: {})[1] is False


def test_what_submitit_raises_when_time_is_up_is_a_timeout(tmp_path):
    from submitit.core.utils import UncompletedJobError

    def measure(folder):
        raise UncompletedJobError("Job not requeued because: timed-out too many times.")

    assert run(tmp_path, measure)[0].status == "timeout"


@pytest.mark.parametrize("error", [TimeoutError("late"), subprocess.TimeoutExpired("tool", 5)])
def test_time_that_is_up_is_a_timeout(tmp_path, error):
    def measure(folder):
        raise error

    row, _ = run(tmp_path, measure)
    assert (row.status, row.reason) == ("timeout", f"{type(error).__name__}: {error}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_a_gpu_that_is_not_there_is_a_rows_reason(tmp_path):
    def measure(folder):
        torch.zeros(1, device="cuda")

    for _ in range(2):  # its own row is looked at first
        row, measured = run_cell("c", "t", {}, {}, tmp_path, torch.device("cuda"), measure)
        assert measured
        assert row.status == "error"
        assert "CUDA" in row.reason or "NVIDIA" in row.reason
        assert row.provenance["device"] == "no CUDA device"


STORM = """
import os, sys, time
from pathlib import Path
os.environ["OMP_NUM_THREADS"] = "1"
import pandas, torch

def work(number, folder):
    from invconv import FInC
    from invconv.rows import collect
    from invconv.sweeps.cells import run_cell
    from invconv.sweeps.claims import Held
    from invconv.solvers.compiled import instruction_sets
    assert instruction_sets()
    cells = [f"cell{(number + i) % 16}" for i in range(16)]
    todo = set(cells)
    while todo:
        for cell in sorted(todo, key=cells.index):
            def measure(inside):
                alone = os.open(inside / "working", os.O_CREAT | os.O_EXCL)
                layer = FInC(4).eval()
                z = torch.randn(2, 4, 6, 6)
                with torch.no_grad():
                    error = (layer(layer.inverse(z))[0] - z).abs().max().item()
                with (folder / "measured").open("a") as file:
                    file.write(cell + "\\n")
                time.sleep(0.05)
                os.close(alone)
                os.unlink(inside / "working")
                return {"error": error, "by": number}
            try:
                row, _ = run_cell(
                    cell, "t", {}, {}, folder / "runs" / cell, torch.device("cpu"), measure
                )
                assert row.status == "ok", row.reason
                todo.discard(cell)
            except Held:
                pass
        collect(folder / "runs", folder / "t.csv")

folder, processes = Path(sys.argv[1]), int(sys.argv[2])
children = []
for number in range(processes):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(number, folder)
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_32_processes_claim_append_load_kernels_and_collect_at_once(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STORM, str(tmp_path), "32"],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    measured = Counter((tmp_path / "measured").read_text().split())
    assert measured == {f"cell{i}": 1 for i in range(16)}
    frame = read_table(tmp_path / "t.csv")
    assert sorted(frame["cell"]) == sorted(measured)
    assert (frame["status"] == "ok").all()
    assert frame["error"].max() < 1e-4
    assert not list(tmp_path.rglob("*.partial"))
    for folder in (tmp_path / "runs").iterdir():
        assert states.attempts(folder).count("ok") == 1


def test_collecting_from_several_folders_at_once_loses_no_row(tmp_path):
    script = """
import sys
from pathlib import Path
from invconv.rows import Row, collect, write_row
folder, name = Path(sys.argv[1]), sys.argv[2]
source = {"machine": name, "commit": "1", "date": "2026-01-01"}
for i in range(6):
    row = Row(f"{name}-{i}", "t", "ok", provenance=source)
    write_row(row, folder / name / str(i) / "row.json")
    collect(folder / name, folder / "t.csv")
"""
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in "abc"
    ]
    assert [process.wait(timeout=200) for process in running] == [0] * 3
    assert len(read_table(tmp_path / "t.csv")) == 18


def test_nothing_is_timed_while_another_process_is_on_the_gpu(monkeypatch):
    gpu = torch.device("cuda")
    running = {}
    monkeypatch.setattr(alone, "gpu_processes", lambda device: dict(running))
    alone.check_alone(gpu)
    running[os.getpid()] = "python"
    alone.check_alone(gpu)
    running[1] = "train"
    with pytest.raises(alone.Busy, match=r"first train \(1\); ask for a GPU of one's own"):
        alone.check_alone(gpu)
    alone.check_alone(CPU)
    del running[os.getpid()]  # a container, where this process has another number for the driver
    alone.check_alone(gpu)


def test_the_drivers_tool_is_asked_for_one_gpu(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho \"$1\" > $0.asked\necho '12, python'\necho '13, a, b'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    properties = type("Properties", (), {"uuid": "abc"})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    found = alone.gpu_processes(torch.device("cuda"))
    assert found == {12: "python", 13: "a, b"}
    assert (tmp_path / "nvidia-smi.asked").read_text() == "--id=GPU-abc\n"
    tool.unlink()
    monkeypatch.setenv("PATH", "")
    with pytest.warns(UserWarning, match="cannot be told"):
        assert alone.gpu_processes(torch.device("cuda")) == {}
