"""Locks: who works on a cell, and what its record says of the attempts."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest
import torch

from invconv.bench import gpu_tools
from invconv.files import LocksRefused, locked
from invconv.rows import read_row, read_table
from invconv.sweeps import locks, states
from invconv.sweeps.cells import run_cell
from invconv.sweeps.locks import Held, Lock, attempts, check_locks, holder

CPU = torch.device("cpu")
OTHER = """
import sys
from contextlib import ExitStack
from pathlib import Path
from invconv.sweeps.locks import Held, Lock
with ExitStack() as stack:
    for line in sys.stdin:
        stack.close()
        try:
            if line.strip():
                stack.enter_context(Lock(Path(line.strip()), patience=0))
            print(flush=True)
        except Held as held:
            print(held, flush=True)
"""


class Other:
    """Another process, which locks what it is told to."""

    def __init__(self, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            text=True,
        )
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def lock(self, folder):
        """Unlocks what it has and locks the folder; "", or who has that."""
        print(folder, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()

    def unlock(self):
        assert self.lock("") == ""


@pytest.fixture(scope="module")
def other():
    with Other() as process:
        yield process


def test_one_has_the_lock_and_the_other_is_told_who(tmp_path, other):
    assert other.lock(tmp_path) == ""
    who = rf"process {other.pid} on .*, since 20\d\d-"
    with pytest.raises(Held, match=who), Lock(tmp_path, patience=0.1):
        pass
    assert holder(tmp_path).startswith(f"process {other.pid} on ")
    assert states.attempts(tmp_path) == ["running"]
    other.unlock()
    assert holder(tmp_path) == ""
    with Lock(tmp_path) as lock:
        lock.outcome = "ok"
    assert states.attempts(tmp_path) == ["interrupted", "ok"]


def test_whoever_looks_at_its_own_lock_keeps_it(tmp_path, other):
    """Though POSIX has a process lose a lock when it closes any descriptor of the file."""
    with Lock(tmp_path):
        mine = holder(tmp_path)
        assert mine.startswith(f"process {os.getpid()} on ")
        assert states.attempts(tmp_path) == ["running"]
        with pytest.raises(Held, match=f"process {os.getpid()} on "), Lock(tmp_path):
            pass
        assert other.lock(tmp_path) == mine
    assert other.lock(tmp_path) == ""
    other.unlock()


def test_a_process_has_the_lock_asleep_and_no_more_when_it_is_dead(tmp_path):
    with Other() as other:
        assert other.lock(tmp_path) == ""
        os.kill(other.pid, signal.SIGSTOP)
        with pytest.raises(Held), Lock(tmp_path, patience=0.1):
            pass
        assert holder(tmp_path)
    assert holder(tmp_path) == ""
    assert states.attempts(tmp_path) == ["died"]
    with Lock(tmp_path):
        pass
    assert states.attempts(tmp_path) == ["died", "interrupted"]


def test_a_fork_does_not_keep_the_lock(tmp_path):
    script = """
import os, sys, time
from pathlib import Path
from invconv.sweeps.locks import Lock
with Lock(Path(sys.argv[1])):
    child = os.fork()
    if not child:
        time.sleep(100)
    print(child, flush=True)
    os._exit(0)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        process.wait()
        try:
            with Lock(tmp_path, patience=0):
                pass
        finally:
            os.kill(child, signal.SIGKILL)
    assert states.attempts(tmp_path) == ["died", "interrupted"]


def test_a_process_number_that_is_used_again_is_another_process(tmp_path):
    with Lock(tmp_path):
        pass
    path = tmp_path / locks.ATTEMPTS
    begun = json.loads(path.read_text().splitlines()[0])
    path.write_text(json.dumps({**begun, "process": "one of before"}) + "\n")
    assert holder(tmp_path) == ""
    with Lock(tmp_path):
        assert holder(tmp_path)


def test_a_short_lock_is_waited_for(tmp_path, other):
    assert other.lock(tmp_path) == ""
    ending = threading.Timer(0.3, other.unlock)
    ending.start()
    with Lock(tmp_path, patience=60):
        assert states.attempts(tmp_path) == ["interrupted", "running"]
    ending.join()


def test_a_requeued_job_waits_for_its_former_node(tmp_path, monkeypatch):
    job = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}
    with Other(**job) as other:
        assert other.lock(tmp_path) == ""
        assert holder(tmp_path).split(", ")[1] == "SLURM job 7_1"
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        for own in ({}, {"SLURM_JOB_ID": "8"}):
            for name, value in own.items():
                monkeypatch.setenv(name, value)
            with pytest.raises(Held), Lock(tmp_path, patience=0):
                pass
        for name, value in job.items():
            monkeypatch.setenv(name, value)
        ending = threading.Timer(0.3, other.unlock)
        ending.start()
        with Lock(tmp_path, patience=0) as lock:
            assert lock.requeued
        ending.join()
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    with Lock(tmp_path) as lock:
        assert not lock.requeued


def test_whoever_looks_makes_no_worker_fail(tmp_path):
    script = """
import sys
from pathlib import Path
from invconv.sweeps.locks import attempts, holder
print("looking", flush=True)
while True:
    holder(Path(sys.argv[1]))
    attempts(Path(sys.argv[1]))
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    lookers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for looker in lookers:
        assert looker.stdout.readline() == b"looking\n"
    for _ in range(100):
        with Lock(tmp_path) as lock:
            lock.outcome = "ok"
    for looker in lookers:
        assert looker.poll() is None
        looker.kill()
        looker.communicate()
    assert states.attempts(tmp_path) == ["ok"] * 100


def test_a_line_that_was_torn_by_a_kill_costs_no_other(tmp_path):
    path = tmp_path / locks.ATTEMPTS
    with Lock(tmp_path):
        pass
    whole = path.read_bytes().replace(locks.PROCESS.encode(), b"another")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        before = states.attempts(tmp_path)
        assert before in ([], ["died"], ["interrupted"])
        with Lock(tmp_path) as lock:
            assert states.attempts(tmp_path) == [*before, "running"]
            lock.outcome = "ok"
        assert states.attempts(tmp_path) == [*before, "ok"]


@pytest.mark.parametrize("number", ["ENOSYS", "ENOLCK", "ENOTSUP", "EOPNOTSUPP"])
def test_a_file_system_without_locks_is_refused_in_a_sentence(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))

    check_locks(tmp_path)
    (tmp_path / locks.LOCK).touch()
    monkeypatch.setattr("fcntl.lockf", refuse)
    told = os.strerror(getattr(errno, number))
    for refused in (
        lambda: check_locks(tmp_path / "new"),
        lambda: holder(tmp_path),
        Lock(tmp_path).__enter__,
        locked(tmp_path / "t.csv").__enter__,
        lambda: states.record("t", tmp_path, ["a"]),
    ):
        with pytest.raises(LocksRefused) as caught:
            refused()
        assert str(caught.value).startswith(f"cannot lock a file in {tmp_path}")
        assert f"({told}): choose a folder on a file system with locks (runs=...)" in str(
            caught.value
        )
        assert "\n" not in str(caught.value)
    assert not attempts(tmp_path)
    assert not list((tmp_path / "new").iterdir())


def test_an_error_of_another_kind_is_passed_on(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr("fcntl.lockf", fail)
    with pytest.raises(OSError, match="broken disk"):
        check_locks(tmp_path)


def run(folder, measure, **options):
    return run_cell("c", "t", {}, {}, folder, CPU, measure, **options)


def test_a_cell_that_another_process_ends_meanwhile_is_skipped(tmp_path, other):
    measured = tmp_path.with_name("measured")
    row, _ = run(measured, lambda folder: {})
    assert other.lock(tmp_path) == ""

    def end():
        os.replace(measured / "row.json", tmp_path / "row.json")
        other.unlock()

    ending = threading.Timer(0.3, end)
    ending.start()
    assert run(tmp_path, lambda folder: pytest.fail("measured twice")) == (row, False)
    ending.join()
    assert states.attempts(tmp_path) == ["interrupted", "skipped"]


def test_force_starts_over_once_though_the_job_is_requeued(tmp_path, monkeypatch):
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
    from invconv.sweeps.locks import Held
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


def test_32_processes_lock_append_load_kernels_and_collect_at_once(tmp_path):
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


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
os.environ["OMP_NUM_THREADS"] = "1"
import torch
from invconv.rows.provenance import revision
from invconv.sweeps import cells
from invconv.sweeps.locks import Held, attempts

write_row = cells.write_row
names = [f"cell{i}" for i in range(48)]
folder = Path(sys.argv[1])

def log(words):
    with (folder / "log").open("a") as file:
        file.write(words + "\\n")

def write_once(row, path):
    if path.exists():
        log(f"{row.cell} written twice")
    write_row(row, path)

def work(start):
    def measure(inside):
        log(f"{inside.name} begin {os.getpid()}")
        (inside / "half.partial").touch()
        time.sleep(random.choice([0, 0.1]))
        waits = random.random() < 0.7  # to be killed
        while waits and not (folder / "calm").exists():
            time.sleep(0.1)
        log(f"{inside.name} end {os.getpid()}")
        return {"by": os.getpid()}

    random.seed()
    todo = names[start:] + names[:start]
    while todo:
        for name in list(todo):
            try:
                row, _ = cells.run_cell(name, "t", {}, {}, folder / name, cpu, measure)
                assert row.status == "ok", row.reason
                todo.remove(name)
            except Held:
                pass

def begin(start):
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work(start)
        code = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        os._exit(code)

def victim():
    last = attempts(folder / random.choice(names))[-1:]
    pids = [attempt.pid for attempt in last if attempt.outcome == "running"]
    if random.random() < 0.5:
        pids = random.sample(children, 1)
    return next((pid for pid in pids if pid in children), None)

cpu = torch.device("cpu")
cells.write_row = write_once
revision()
children = [begin(i % 48) for i in range(32)]
kills, codes = 0, []
until = time.monotonic() + 25
while kills < 100 and time.monotonic() < until:
    pid = victim()
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        children.remove(pid)
        children.append(begin(random.randrange(48)))
        kills += 1
(folder / "calm").touch()
codes += [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert set(codes) <= {0, -signal.SIGKILL}, codes
print(kills)
"""


def test_32_processes_killed_at_random_end_every_cell_exactly_once(tmp_path, record_property):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    record_property("cases", int(done.stdout))
    assert int(done.stdout) > 20
    current, measured = {}, Counter()
    for line in (tmp_path / "log").read_text().splitlines():
        cell, event, process = line.split()
        assert event in ("begin", "end")  # no row was written twice
        if event == "begin":
            current[cell] = process
        else:
            assert current[cell] == process  # nobody else began meanwhile
            measured[cell] += 1
    folders = [folder for folder in tmp_path.iterdir() if folder.is_dir()]
    assert len(folders) == 48
    ends = Counter()
    for folder in folders:
        row, outcomes = read_row(folder / "row.json"), states.attempts(folder)
        assert row.status == "ok"
        assert set(outcomes) <= {"ok", "died", "skipped"}
        ended = [attempt for attempt in attempts(folder) if attempt.outcome == "ok"]
        # one who was killed between its row and the end of its attempt left the row alone
        assert [one.pid for one in ended] == [row.values["by"]] * len(ended)
        assert len(ended) == 1 or row.values["by"] in [
            one.pid for one in attempts(folder) if one.outcome == "died"
        ]
        assert len(ended) <= 1
        ends.update(outcomes)
    assert ends["died"] > 10
    assert ends["ok"] > 40


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
    monkeypatch.setattr(gpu_tools, "gpu_processes", lambda device: dict(running))
    gpu_tools.check_alone(gpu)
    running[os.getpid()] = "python"
    gpu_tools.check_alone(gpu)
    running[1] = "train"
    with pytest.raises(gpu_tools.Busy, match=r"first train \(1\); ask for a GPU of one's own"):
        gpu_tools.check_alone(gpu)
    gpu_tools.check_alone(CPU)
    del running[os.getpid()]  # a container, where this process has another number for the driver
    gpu_tools.check_alone(gpu)


def test_the_drivers_tool_is_asked_for_one_gpu(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho \"$1\" > $0.asked\necho '12, python'\necho '13, a, b'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    properties = type("Properties", (), {"uuid": "abc"})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    found = gpu_tools.gpu_processes(torch.device("cuda"))
    assert found == {12: "python", 13: "a, b"}
    assert (tmp_path / "nvidia-smi.asked").read_text() == "--id=GPU-abc\n"
    tool.unlink()
    monkeypatch.setenv("PATH", "")
    with pytest.warns(UserWarning, match="cannot be told"):
        assert gpu_tools.gpu_processes(torch.device("cuda")) == {}
