"""The command line of a sweep: what it refuses, shows, lists and starts."""

import json
import os
import re
import subprocess
import sys
import threading
import time

import forked
import pytest
from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf
from omegaconf import OmegaConf

from hydra_plugins.invconv_launchers import SlurmLauncher
from invconv.__main__ import main
from invconv.rows import Row, RowsError, read_row, write_row
from invconv.rows.provenance import ROOT, revision
from invconv.sweeps import application, cluster, states
from invconv.sweeps import jobs as launched
from invconv.sweeps.application import Application, Cell, SweepError, Task
from invconv.sweeps.checks import FolderError, check_writable
from invconv.sweeps.cluster import ClusterError
from invconv.sweeps.config import Launch, Sweep

OPTIONS = {"timeout_min": 60, "signal_delay_s": 120, "partition": None}


def command(folder, table, *arguments, **environment):
    script = ROOT / "reproductions" / f"{table}.py"
    return forked.run(script, *arguments, cwd=folder, timeout=200, **environment)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Stand-ins on PATH, before everything else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def add(name, text="", code=0, error=""):
        script = folder / name
        script.write_text(f"#!/bin/sh\nprintf '{text}'\nprintf '{error}' >&2\nexit {code}\n")
        script.chmod(0o755)

    return add


def test_a_field_of_the_wrong_type_is_named_at_composition(tmp_path):
    done = command(tmp_path, "table1", "-m", "n=oops")
    assert done.returncode == 1
    assert "Value 'oops' of type 'str' could not be converted to Integer" in done.stderr
    assert "full_key: n" in done.stderr
    assert "Callback" not in done.stderr
    assert list(tmp_path.rglob("row.json")) == []


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("--cfg", "hydra", "-p", "hydra.launcher", "launch=slurm", "cluster=example"), "gpu"),
        (("--cfg", "job", "launch.detach=true"), "detach: true"),
        (("--info", "config", "launch=slurm", "cluster=example"), "Config search path"),
        (("--help",), "Override anything in the config"),
    ],
)
def test_what_hydras_users_expect(tmp_path, arguments, shown):
    done = command(tmp_path, "table2", *arguments)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_shell_completion(tmp_path):
    line = "reproductions/table2.py launch="
    environment = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = command(tmp_path, "table2", "-sc", "query=bash", **environment)
    assert done.stdout.split() == ["launch=basic", "launch=list", "launch=local", "launch=slurm"]
    assert "complete" in command(tmp_path, "table2", "-sc", "install=bash").stdout


def one_sentence(done, begin):
    """A sweep that was refused says why in one line, and Hydra how to see more."""
    assert done.returncode == 1
    said, empty, hint, *more = done.stderr.split("\n")
    assert said.startswith(begin)
    assert hint == "Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace."
    assert (empty, more) == ("", [""])
    return said


def test_no_sbatch_on_path(tmp_path):
    asked = ("dataset=digits", "method=glow", "part=train", "launch=slurm")
    done = command(tmp_path, "table2", "-m", *asked, PATH="/usr/lib", INVCONV_COMMIT="abc")
    assert one_sentence(done, "table2: there is no sbatch on PATH: start") == (
        "table2: there is no sbatch on PATH: start the sweep on a login node (perhaps after "
        "`module load slurm`), or run it here with launch=basic"
    )


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match=r"cannot be written \(Not a directory\): choose ano"):
        check_writable(str(tmp_path / "file" / "runs"), "runs")
    done = command(tmp_path, "table1", "-m", "runs=file/runs", "n=8", "method=glow")
    one_sentence(done, "table1: the folder file/runs cannot be written")


def test_a_folder_without_locks_is_refused_before_the_first_cell(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import errno, fcntl\n"
        "def lockf(*arguments):\n"
        "    raise OSError(errno.ENOLCK, 'No locks available')\n"
        "fcntl.lockf = lockf\n"
    )
    done = command(tmp_path, "table1", "-m", "n=8", "method=glow", PYTHONPATH=str(tmp_path))
    assert "No locks available" in one_sentence(done, "table1: ")
    assert list(tmp_path.rglob("row.json")) == []


def test_a_time_limit_too_short_for_the_signal(tmp_path, programs):
    programs("sbatch")
    programs("sinfo", "main\\nmain\\nbig\\n")
    for minutes, delay, fits in ((4, 120, True), (3, 120, False), (2, 30, True), (1, 0, False)):
        options = {**OPTIONS, "timeout_min": minutes, "signal_delay_s": delay}
        if fits:
            cluster.check(options)
        else:
            with pytest.raises(ClusterError, match="too short to be warned and requeued") as told:
                cluster.check(options)
    assert "at least 2 minutes" in str(told.value)


def test_a_partition_that_does_not_exist(tmp_path, programs):
    programs("sbatch")
    programs("sinfo", "main\\nmain\\nbig\\n")
    cluster.check({**OPTIONS, "partition": "big,main"})
    with pytest.raises(ClusterError, match=r"no partition 'gpu': .* can be big, main"):
        cluster.check({**OPTIONS, "partition": "main,gpu"})


def test_a_controller_that_does_not_answer(tmp_path, programs):
    programs("sbatch")
    programs("sinfo", code=1, error="slurm_load_partitions: Unable to contact slurm controller\\n")
    with pytest.raises(ClusterError, match=r"sinfo does not answer: .*Unable to contact"):
        cluster.check(OPTIONS)


def test_what_sbatch_refuses_is_one_sentence():
    error = RuntimeError("sbatch: error: Invalid account or account/partition combination\nmore")
    assert str(cluster.refusal(error)) == (
        "sbatch refused the jobs: Invalid account or account/partition combination"
    )


def test_accounting_that_does_not_work(programs, monkeypatch):
    programs("sacct", "JobID\\n")
    assert cluster.accounting() == ""
    programs("sacct", code=1, error="Slurm accounting storage is disabled\\n")
    assert cluster.accounting() == "Slurm accounting storage is disabled"
    monkeypatch.setenv("PATH", "")
    assert cluster.accounting() == "there is none on PATH"


def test_the_queue(programs):
    programs("squeue", "12|0|RUNNING|None\\n12|1|PENDING|Resources\\n13|N/A|CANCELLED by 0|\\n")
    found = cluster.queue()
    assert found == {"12_0": "RUNNING", "12_1": "PENDING (Resources)", "13": "CANCELLED by 0"}
    assert [cluster.ended(words) for words in found.values()] == [False, False, True]
    programs("squeue", code=1, error="Unable to contact slurm controller")
    assert cluster.queue() is None


def test_without_an_answer_of_squeue_nothing_is_submitted_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "check", lambda options: None)
    monkeypatch.setattr(cluster, "accounting", lambda: "")
    monkeypatch.setattr(cluster, "queue", lambda: None)
    monkeypatch.setattr(launched.Jobs, "_submit", idle)
    states.record_jobs(tmp_path / "runs", {"a": "7"})
    with pytest.raises(SweepError, match="t: squeue does not answer, so jobs of an earlier"):
        jobs(tmp_path, TASK, {}, wanted(tmp_path, "a")).run_on_slurm()


def test_a_broken_record_of_a_sweep_stops_it_and_hydra(tmp_path, programs):
    """Which would submit every cell by itself after a warning."""
    programs("sbatch", error="asked")
    (tmp_path / "runs" / "table1").mkdir(parents=True)
    (tmp_path / "runs" / "table1" / "grid.json").write_text("broken")
    done = command(tmp_path, "table1", "-m", "n=8", "method=glow,finc", "launch=slurm")
    one_sentence(done, "table1: runs/table1/grid.json is no JSON object (Expecting value")


def test_settings_that_take_their_value_from_others(tmp_path, programs):
    """Of those too every cell is known before a sweep starts, and what cannot be is refused."""
    done = command(tmp_path, "table1", "-m", "channels=8", "n=${channels}", "method=glow")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 cells ok" in done.stdout
    programs("sbatch", error="asked")
    done = command(tmp_path, "table1", "-m", "n=8", "method.name=${nonsense}", "launch=slurm")
    one_sentence(done, "table1: Interpolation key 'nonsense' not found")


@pytest.mark.parametrize("error", [RowsError("broken"), OSError("full"), ClusterError("none")])
def test_whatever_goes_wrong_before_a_sweep_is_hydras_error_in_one_sentence(
    tmp_path, monkeypatch, error
):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(states, "record", fail)
    composed = OmegaConf.structured(Sweep(runs=str(tmp_path), results="results"))
    with pytest.raises(SweepError, match=f"t: {error}"):
        TASK.note([(0, [], composed)], records=True, here=True)


def test_what_hydra_says_better_is_left_to_it(tmp_path):
    done = command(tmp_path, "table1", "-m", "method=nonsense")
    assert done.returncode == 1
    assert "Could not find 'method/nonsense'" in done.stderr
    assert "glow" in done.stderr
    conf = tmp_path / "conf" / "cluster"
    conf.mkdir(parents=True)
    (conf / "mine.yaml").write_text("# @package hydra.launcher\npartition: [main\n")
    done = command(
        tmp_path, "table1", "--config-dir", "conf", "-m", "launch=slurm", "cluster=mine"
    )
    assert done.returncode == 1
    assert "mine.yaml" in done.stderr


HOLDER = """
import fcntl, sys
with open(sys.argv[1], "a") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("locked", flush=True)
    input()
"""


@pytest.mark.parametrize(
    "write",
    [
        lambda runs: states.record_jobs(runs, {"a": "1"}),
        lambda runs: states.record("t", runs, ["a"]),
    ],
)
def test_two_launches_lose_no_job_of_each_other(tmp_path, write):
    """The other one, which holds the lock, writes its own after this one has begun."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / ".grid.json.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "locked\n"
    ours = threading.Thread(target=write, args=(tmp_path,))
    ours.start()
    ours.join(0.3)
    assert ours.is_alive()
    (tmp_path / "grid.json").write_text(json.dumps({"jobs": {"b": "2"}}))
    other.communicate("\n", timeout=60)
    ours.join(60)
    found = states.read_grid(tmp_path)
    assert found["jobs"]["b"] == "2"
    assert found["cells"] == ["a"] or found["jobs"]["a"] == "1"


def test_a_job_that_looks_over_once_may_be_requeued(tmp_path, monkeypatch, capsys):
    answers = iter([{"1": "PENDING"}, None, {"1": "FAILED"}, {"1": "PENDING (BeginTime)"}, {}, {}])
    monkeypatch.setattr(cluster, "queue", lambda: next(answers))
    monkeypatch.setattr(launched.time, "sleep", lambda seconds: None)
    assert launched.watch("t", tmp_path, {"cell": "1"}) == {"cell": "PENDING (BeginTime)"}
    assert next(answers, "none left") == "none left"
    assert "1 PENDING (BeginTime)" in capsys.readouterr().out


def test_a_job_whose_launch_failed_is_released(tmp_path, monkeypatch, capsys, programs):
    log = tmp_path / "released"
    programs("scontrol")
    (tmp_path / "bin" / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    answers = iter([*[{"1_3": launched.HELD, "1_4": "PENDING (JobHeldUser)"}] * 6, {}, {}])
    monkeypatch.setattr(cluster, "queue", lambda: next(answers))
    monkeypatch.setattr(launched.time, "sleep", lambda seconds: None)
    launched.watch("t", tmp_path, {"a": "1_3", "b": "1_4"})
    assert log.read_text().splitlines() == ["release 1_3"] * launched.RELEASES
    said = capsys.readouterr().out
    assert (
        said.count("t: SLURM held job 1_3, whose launch failed: released\n") == launched.RELEASES
    )
    assert said.count("`scontrol release 1_3` tries once more, `scancel 1_3` gives it up") == 1


def test_a_release_that_slurm_refuses_is_said(tmp_path, monkeypatch, capsys, programs):
    programs("scontrol", code=1, error="Invalid job id specified")
    answers = iter([{"7": launched.HELD}, {}, {}])
    monkeypatch.setattr(cluster, "queue", lambda: next(answers))
    monkeypatch.setattr(launched.time, "sleep", lambda seconds: None)
    launched.watch("t", tmp_path, {"a": "7"})
    assert "not released, scontrol does not answer: Invalid job id" in capsys.readouterr().out


def test_jobs_that_left_nothing_are_pointed_at(tmp_path):
    numbers = {"a": "1_0", "b": "1_1", "c": "1_2"}
    last = {"a": "FAILED", "b": "FAILED", "c": "CANCELLED by 0"}
    folder = str(tmp_path / ".submitit" / "%j")
    said = launched.silence(folder, tmp_path, numbers, last)
    begin = f"SLURM job 1_0 (FAILED) and 1 more left neither row nor log in {tmp_path}"
    assert said.startswith(begin)
    for job in ("1_0", "1_1"):
        (tmp_path / ".submitit" / job).mkdir(parents=True)
        (tmp_path / ".submitit" / job / f"{job}_0_log.out").touch()
    assert launched.silence(folder, tmp_path, numbers, last) == ""


class Finished:
    """A job that was over when somebody asked for the second time."""

    def __init__(self, name, running):
        self.name, self.running, self.asked = name, running, 0
        running.append(name)

    def done(self):
        self.asked += 1
        if self.asked > 1 and self.name in self.running:
            self.running.remove(self.name)
        return self.asked > 1


@pytest.mark.parametrize("side_by_side", [1, 3])
def test_what_is_timed_comes_first_and_alone(tmp_path, monkeypatch, capsys, side_by_side):
    running, seen = [], []

    class Executor:
        def submit(self, call, overrides, *_):
            job = Finished(overrides[0].removeprefix("preset="), running)
            seen.append(sorted(running))
            return job

    task = Task(TASK.application)
    task.cells = wanted(tmp_path, "abcdef")
    monkeypatch.setattr(launched.Jobs, "_executor", lambda self, kind: Executor())
    monkeypatch.setattr(launched.time, "sleep", lambda seconds: None)

    def busy():
        seen.append("looked")
        return "others compute"

    monkeypatch.setattr(application, "busy_machine", busy)
    options = {"side_by_side": side_by_side}
    jobs(tmp_path, task, {}, task.cells, **options).run_locally()
    assert seen.index("looked") == 0
    timed, others = seen[1:3], seen[3:]
    assert max(map(len, others)) == side_by_side
    assert sorted({name for names in others for name in names}) == ["a", "c", "e", "f"]
    assert timed == [["b"], ["d"]]
    out, err = capsys.readouterr()
    assert err == "t: others compute\n"
    assert [line[:5] for line in out.splitlines()] == [f"[{n}/6]" for n in range(1, 7)]
    assert re.fullmatch(r"\[1/6\] b: missing, about .* left", out.splitlines()[0])
    assert out.splitlines()[-1] == "[6/6] f: missing"
    assert running == []


def test_a_busy_machine_is_told_of_if_something_will_be_timed(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(application, "busy_machine", lambda: asked.append(1) or "others compute")
    task = Task(TASK.application)
    task.cells = wanted(tmp_path, "ac")
    task.warn_if_busy()
    assert (capsys.readouterr().err, asked) == ("", [])  # nothing is timed: nobody looks
    task.cells = wanted(tmp_path, "ab")
    task.warn_if_busy()
    assert (capsys.readouterr().err, asked) == ("t: others compute\n", [1])
    monkeypatch.setattr(application, "busy_machine", lambda: "")
    task.warn_if_busy()
    assert capsys.readouterr().err == ""


def test_local_processes_cannot_be_left_alone(tmp_path):
    done = command(tmp_path, "table1", "-m", "launch=local", "launch.detach=true", "n=8")
    one_sentence(done, "table1: launch.detach=true needs a cluster: launch=slurm")


def test_training_and_times_of_one_sweep_in_local_processes(tmp_path):
    small = ("preset=tiny", "dataset=digits", "method=glow", "progress=false")
    done = command(tmp_path, "table2", "-m", *small, "launch=local", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 cells ok" in done.stdout
    rows = {
        path.parent.name: read_row(path)
        for path in (tmp_path / "runs" / "tiny" / "table2").glob("*/row.json")
    }
    trained, timed = sorted(rows)
    assert trained.startswith("tiny-digits-glow-s0-") and rows[trained].values["bpd"] > 0
    assert timed.startswith("tiny-digits-times-s0-") and list(rows[timed].parts) == ["glow"]
    assert rows[timed].provenance["date"] <= rows[trained].provenance["date"]
    assert re.search(r"\[1/2\] tiny-digits-times-s0-\w+: glow, about .* left", done.stdout)
    assert re.search(r"\| Glow +\| +[\d.]+ \| +[\d.]+ \| +1 \|.* \d\.\d{3} \|", done.stdout)


def test_a_sweep_its_list_and_a_changed_commit(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = ["n=8", "method=glow,finc", "channels=13"]
    assert main(["list", "runs/table1", *wanted]) == 1
    assert "2 cells: 2 missing" in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == []
    done = command(tmp_path, "table1", "-m", *wanted)
    assert done.returncode == 1
    assert "1 of 2 cells ok" in done.stdout
    assert "finc-c13-n8" in done.stderr  # FInC cuts the channels in four
    assert main(["list", "runs/table1"]) == 1
    assert "2 cells: 1 ok, 1 unsupported" in capfd.readouterr().out

    path = next((tmp_path / "runs" / "table1").glob("glow-c13-*/row.json"))
    path.write_text(path.read_text().replace(revision()[0], "abc1234567"))
    main(["list", "runs/table1"])
    assert f"ok: by commit abc1234567, here is {revision()[0]}" in capfd.readouterr().out
    done = command(tmp_path, "table1", "-m", "n=8", "method=glow", "channels=12,13")
    assert "skipped, done before by commit abc1234567" in done.stdout
    done = command(
        tmp_path, "table1", "-m", "n=8", "method=glow", "channels=12,13", "force_changed=true"
    )
    assert done.returncode == 0
    assert done.stdout.count("skipped, done before:") == 1
    assert read_row(path).provenance["commit"] == revision()[0]
    assert states.attempts(path.parent) == ["ok", "ok"]


def test_the_states_of_cells(tmp_path, capsys, monkeypatch):
    states.record("table1", tmp_path, ["a", "b"])
    states.record_jobs(tmp_path, {"a": "5_0"})
    assert str(states.state(tmp_path, "a", {"5_0": "PENDING (Priority)"})) == (
        "queued: SLURM job 5_0: PENDING (Priority)"
    )
    assert str(states.state(tmp_path, "a", {})) == (
        f"missing: SLURM job 5_0 is gone; its log, if any: {tmp_path}/.submitit/5_0"
    )
    assert str(states.state(tmp_path, "b")) == "missing"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "attempts.jsonl").write_text(
        '{"host": "n1", "pid": 1, "job": "5_1"}\n{"outcome": "interrupted"}\n'
    )
    assert str(states.state(tmp_path, "b")) == ("interrupted: attempt 1, SLURM job 5_1 on n1")
    assert main(["list", str(tmp_path / "nonsense")]) == 2
    assert (
        "'nonsense' is no table, which are: accuracy, clock, coupling_free, depth, figure4"
        in capsys.readouterr().err
    )


def test_collecting_one_sweep_touches_no_other_table(tmp_path, capsys):
    source = {"machine": "m", "commit": "1", "date": "2026-01-01", "dirty": False, "device": "d"}
    write_row(Row("a", "nonsense", "ok", provenance=source), tmp_path / "runs" / "a" / "row.json")
    assert main(["collect", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]) == 1
    assert main(["collect", str(tmp_path / "typo"), "--results", str(tmp_path / "results")]) == 1
    assert "no page for rows of nonsense" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def idle(*arguments):
    raise AssertionError("runs in a job only")


TASK = Task(
    Application(
        name="t",
        config=Sweep,
        cell="{preset}",
        times=lambda config: config.preset in "bd",
    )
)


def jobs(tmp_path, task, options, cells, **launch):
    return launched.Jobs(idle, task, options, cells, Launch(**launch), tmp_path / "runs")


def wanted(tmp_path, names):
    """Cells that a launcher is given."""
    return {
        name: Cell(
            name,
            number,
            [f"preset={name}"],
            OmegaConf.create(),
            Sweep(name, runs=str(tmp_path / "runs")),
        )
        for number, name in enumerate(names)
    }


@pytest.mark.parametrize(
    ("launcher", "launch", "alone"),
    [
        ({}, {}, [False, True]),
        ({"gpus_per_node": 1}, {}, [False]),
        ({"gpus_per_node": 1}, {"exclusive": True}, [True]),
        ({}, {"exclusive": False}, [False]),
    ],
)
def test_cells_that_time_ask_for_a_node_or_a_gpu_of_their_own(
    tmp_path, programs, monkeypatch, launcher, launch, alone
):
    programs("sinfo", "main\\n")
    programs("scontrol", "MaxArraySize = 3\\n")
    for name in ("srun", "squeue", "sacct"):
        programs(name)
    script = tmp_path / "bin" / "sbatch"
    count = "n=$(ls $0.* 2>/dev/null | wc -l); cp $1 $0.$n; env > $0.env"
    script.write_text(f"#!/bin/sh\n{count}\necho Submitted batch job 7$n\n")
    script.chmod(0o755)
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    options = OmegaConf.structured(SlurmQueueConf)
    options.update({"submitit_folder": str(tmp_path / "jobs" / "%j"), "name": "t", **launcher})
    options = OmegaConf.to_container(options, resolve=True)
    del options["_target_"]
    cells = wanted(tmp_path, "abcd")
    (tmp_path / "runs").mkdir()
    task = Task(TASK.application)
    jobs(tmp_path, task, options, cells, detach=True, **launch).run_on_slurm()
    assert task.detached
    texts = [path.read_text() for path in sorted((tmp_path / "bin").glob("sbatch.[0-9]*"))]
    assert ["--exclusive" in text for text in texts] == (alone * 2 if len(alone) == 1 else alone)
    assert all("--array=0-1%2" in text for text in texts)
    assert all("--signal=USR2@120" in text for text in texts)
    known = states.read_grid(tmp_path / "runs")["jobs"]
    assert set(known) == set("abcd")
    assert len(set(known.values())) == 4
    environment = (tmp_path / "bin" / "sbatch.env").read_text()
    assert "SLURM_JOB_ID" not in environment
    assert "SLURM_CONF=/etc/slurm.conf" in environment


def test_a_cell_that_used_up_its_time_without_a_checkpoint_is_not_tried_for_ever(tmp_path):
    launcher = SlurmLauncher(timeout_min=10, signal_delay_s=120)
    launcher.folder, launcher.began = tmp_path, (time.time(), [])
    again = launcher.checkpoint(["n=8"], "dir", 0, "id", {})  # preempted early
    assert again.function is launcher
    launcher.began = (time.time() - 500, [])
    with pytest.raises(TimeoutError, match="limit of 10 minutes came before a checkpoint"):
        launcher.checkpoint()
    (tmp_path / "last.pt").touch()
    assert launcher.checkpoint().function is launcher
