"""The command line of a sweep: what it refuses, shows, lists and starts."""

import json
import os
import subprocess
import sys
import threading

import pytest
from hydra.errors import HydraException
from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf
from omegaconf import OmegaConf

from invconv.__main__ import main
from invconv.rows import read_row
from invconv.rows.provenance import ROOT, revision
from invconv.rows.row import RowsError
from invconv.sweeps import cluster, jobs, states, sweep, watch
from invconv.sweeps.cluster import ClusterError

OPTIONS = {"timeout_min": 60, "signal_delay_s": 120, "partition": None}


def command(folder, table, *arguments, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / "reproductions" / f"{table}.py"), *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )


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
    assert done.stdout.split() == ["launch=basic", "launch=local", "launch=slurm"]
    assert "complete" in command(tmp_path, "table2", "-sc", "install=bash").stdout


def test_no_sbatch_on_path(tmp_path):
    done = command(tmp_path, "table2", "-m", "launch=slurm", PATH="/usr/lib")
    assert done.returncode == 2
    assert done.stderr == (
        "table2: there is no sbatch on PATH: start the sweep on a login node (perhaps after "
        "`module load slurm`), or run it here with launch=basic\n"
    )


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ClusterError, match=r"cannot be written \(Not a directory\): choose ano"):
        cluster.check_writable(tmp_path / "file" / "runs")
    done = command(tmp_path, "table1", "-m", "runs=file/runs", "n=8", "method=glow")
    assert done.returncode == 2
    assert done.stderr.startswith("table1: the sweep directory file/runs cannot be written")
    assert done.stderr.count("\n") == 1


def test_a_time_limit_too_short_for_the_signal(tmp_path, programs):
    programs("sbatch")
    programs("sinfo", "main\\nmain\\nbig\\n")
    for minutes, delay, fits in ((4, 120, True), (3, 120, False), (2, 30, True), (1, 0, False)):
        options = {**OPTIONS, "timeout_min": minutes, "signal_delay_s": delay}
        if fits:
            cluster.check(tmp_path, options)
        else:
            with pytest.raises(ClusterError, match="too short to be warned and requeued") as told:
                cluster.check(tmp_path, options)
    assert "at least 2 minutes" in str(told.value)


def test_a_partition_that_does_not_exist(tmp_path, programs):
    programs("sbatch")
    programs("sinfo", "main\\nmain\\nbig\\n")
    cluster.check(tmp_path, {**OPTIONS, "partition": "big,main"})
    with pytest.raises(ClusterError, match=r"no partition 'gpu': .* can be big, main"):
        cluster.check(tmp_path, {**OPTIONS, "partition": "main,gpu"})


def test_a_controller_that_does_not_answer(tmp_path, programs):
    programs("sbatch")
    programs("sinfo", code=1, error="slurm_load_partitions: Unable to contact slurm controller\\n")
    with pytest.raises(ClusterError, match=r"sinfo does not answer: .*Unable to contact"):
        cluster.check(tmp_path, OPTIONS)


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
    monkeypatch.setattr(cluster, "check", lambda runs, options: None)
    monkeypatch.setattr(cluster, "accounting", lambda: "")
    monkeypatch.setattr(cluster, "queue", lambda: None)
    monkeypatch.setattr(jobs, "_submit", idle)
    launcher = {"_target_": "a.submitit.SlurmLauncher"}
    config = {
        "runs": str(tmp_path),
        "launch": {"exclusive": None},
        "hydra": {"launcher": launcher},
    }
    states.record_jobs(tmp_path, {"a": "7"})
    with pytest.raises(ClusterError, match="squeue does not answer, so jobs of an earlier launch"):
        jobs.run("t", idle, OmegaConf.create(config), {"a": OmegaConf.create()}, [])


def test_a_broken_record_of_a_sweep_stops_it_and_hydra(tmp_path, programs):
    """Which would submit every cell by itself after a warning."""
    programs("sbatch", error="asked")
    (tmp_path / "runs" / "table1").mkdir(parents=True)
    (tmp_path / "runs" / "table1" / "grid.json").write_text("broken")
    done = command(tmp_path, "table1", "-m", "n=8", "method=glow,finc", "launch=slurm")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "table1: runs/table1/grid.json is no JSON object (Expecting value"
    )
    assert done.stderr.count("\n") == 1


def test_settings_that_take_their_value_from_others(tmp_path, programs):
    """Of those too every cell is known before a sweep starts, and what cannot be is refused."""
    done = command(tmp_path, "table1", "-m", "channels=8", "n=${channels}", "method=glow")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 cells ok" in done.stdout
    programs("sbatch", error="asked")
    done = command(tmp_path, "table1", "-m", "n=8", "method.name=${nonsense}", "launch=slurm")
    assert done.returncode == 2
    assert done.stderr.startswith("table1: Interpolation key 'nonsense' not found")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [RowsError("broken"), OSError("full"), ZeroDivisionError()])
def test_whatever_goes_wrong_before_a_sweep_stops_hydra(tmp_path, monkeypatch, error):
    def label(config):
        raise error

    application = sweep.Application("t", idle, label, idle, idle)
    monkeypatch.setattr(sweep, "sweep", sweep._Composed(application))
    monkeypatch.setattr(sweep, "compose_cells", lambda config: [OmegaConf.create()])
    with pytest.raises(SystemExit):
        sweep.RecordGrid().on_multirun_start(OmegaConf.create({"runs": str(tmp_path)}))
    assert sweep.sweep.refusal is error


def test_what_hydra_says_better_is_left_to_it(monkeypatch):
    def compose(config):
        raise HydraException("no such group")

    monkeypatch.setattr(sweep, "sweep", sweep._Composed(sweep.Application("t", *[idle] * 4)))
    monkeypatch.setattr(sweep, "compose_cells", compose)
    sweep.RecordGrid().on_multirun_start(OmegaConf.create())
    assert sweep.sweep.refusal is None


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
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: None)
    assert watch.watch("t", tmp_path, {"cell": "1"}) == {"cell": "PENDING (BeginTime)"}
    assert next(answers, "none left") == "none left"
    assert "1 PENDING (BeginTime)" in capsys.readouterr().out


def test_a_job_whose_launch_failed_is_released(tmp_path, monkeypatch, capsys, programs):
    log = tmp_path / "released"
    programs("scontrol")
    (tmp_path / "bin" / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    answers = iter([*[{"1_3": watch.HELD, "1_4": "PENDING (JobHeldUser)"}] * 6, {}, {}])
    monkeypatch.setattr(cluster, "queue", lambda: next(answers))
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: None)
    watch.watch("t", tmp_path, {"a": "1_3", "b": "1_4"})
    assert log.read_text().splitlines() == ["release 1_3"] * watch.RELEASES
    said = capsys.readouterr().out
    assert said.count("t: SLURM held job 1_3, whose launch failed: released\n") == watch.RELEASES
    assert said.count("`scontrol release 1_3` tries once more, `scancel 1_3` gives it up") == 1


def test_a_release_that_slurm_refuses_is_said(tmp_path, monkeypatch, capsys, programs):
    programs("scontrol", code=1, error="Invalid job id specified")
    answers = iter([{"7": watch.HELD}, {}, {}])
    monkeypatch.setattr(cluster, "queue", lambda: next(answers))
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: None)
    watch.watch("t", tmp_path, {"a": "7"})
    assert "not released, scontrol does not answer: Invalid job id" in capsys.readouterr().out


def test_jobs_that_left_nothing_are_pointed_at(tmp_path):
    numbers = {"a": "1_0", "b": "1_1", "c": "1_2"}
    last = {"a": "FAILED", "b": "FAILED", "c": "CANCELLED by 0"}
    folder = str(tmp_path / ".submitit" / "%j")
    said = watch.silence(folder, tmp_path, numbers, last)
    begin = f"SLURM job 1_0 (FAILED) and 1 more left neither row nor log in {tmp_path}"
    assert said.startswith(begin)
    for job in ("1_0", "1_1"):
        (tmp_path / ".submitit" / job).mkdir(parents=True)
        (tmp_path / ".submitit" / job / f"{job}_0_log.out").touch()
    assert watch.silence(folder, tmp_path, numbers, last) == ""


def test_nothing_is_timed_side_by_side(tmp_path):
    done = command(tmp_path, "table2", "-m", "preset=tiny", "launch=local", "method=glow")
    assert done.returncode == 2
    assert done.stderr == (
        "table2: 2 cells would be timed while others compute: launch=basic, or "
        "launch.side_by_side=1, or do not time (timing.repeats=0)\n"
    )
    done = command(tmp_path, "table1", "-m", "launch=local", "launch.detach=true", "n=8")
    assert done.returncode == 2
    assert "launch.detach=true needs a cluster to wait: launch=slurm" in done.stderr


def test_a_sweep_in_local_processes_its_list_and_a_changed_commit(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = ["n=8", "method=glow,finc", "channels=12,13"]
    assert main(["list", "runs/table1", *wanted]) == 1
    assert "4 cells: 4 missing" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    done = command(tmp_path, "table1", "-m", "launch=local", *wanted)
    assert done.returncode == 1
    assert "3 of 4 cells ok" in done.stdout
    assert "finc-c13-n8" in done.stderr  # FInC cuts the channels in four
    assert main(["list", "runs/table1"]) == 1
    assert "4 cells: 3 ok, 1 error" in capsys.readouterr().out

    path = next((tmp_path / "runs" / "table1").glob("glow-c12-*/row.json"))
    path.write_text(path.read_text().replace(revision()[0], "abc1234567"))
    main(["list", "runs/table1"])
    assert f"ok: by commit abc1234567, here is {revision()[0]}" in capsys.readouterr().out
    done = command(tmp_path, "table1", "-m", "n=8", "method=glow", "channels=12")
    assert "skipped, done before by commit abc1234567" in done.stdout
    done = command(tmp_path, "table1", "-m", *wanted, "method=glow", "force_changed=true")
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
    claim = {"host": "n1", "pid": 1, "job": "5_1", "ended": "now", "outcome": "interrupted"}
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "claim.0").write_text(json.dumps(claim))
    assert str(states.state(tmp_path, "b")) == (
        "missing: attempt 1, SLURM job 5_1 on n1, interrupted"
    )
    assert main(["list", str(tmp_path / "nonsense")]) == 2
    assert (
        "'nonsense' is no table, which are: accuracy, figure4, scaling, table1"
        in capsys.readouterr().err
    )


def test_collecting_one_sweep_touches_no_other_table(tmp_path, capsys):
    from invconv.rows import Row, write_row

    source = {"machine": "m", "commit": "1", "date": "2026", "dirty": False, "device": "d"}
    write_row(Row("a", "nonsense", "ok", provenance=source), tmp_path / "runs" / "a" / "row.json")
    assert main(["collect", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]) == 1
    assert main(["collect", str(tmp_path / "typo"), "--results", str(tmp_path / "results")]) == 1
    assert "no page for rows of nonsense" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def idle(config):
    raise AssertionError("runs in a job only")


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
    config = OmegaConf.create(
        {
            "runs": str(tmp_path / "runs"),
            "launch": {"detach": True, "exclusive": None, **launch},
            "hydra": {"launcher": options},
        }
    )
    cells = {name: OmegaConf.create({"name": name}) for name in "abcd"}
    (tmp_path / "runs").mkdir()
    assert jobs.run("t", idle, config, cells, timed=["b", "d"]) is True
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
    job = jobs.CellJob(lambda config: None, limit_s=600, delay_s=120)
    job(OmegaConf.create(), str(tmp_path))
    again = job.checkpoint(OmegaConf.create(), str(tmp_path))  # preempted early
    assert again.function is job
    job.started -= 500
    with pytest.raises(TimeoutError, match="limit of 10 minutes came before a checkpoint"):
        job.checkpoint(OmegaConf.create(), str(tmp_path))
    (tmp_path / "last.pt").touch()
    assert job.checkpoint(OmegaConf.create(), str(tmp_path)).function is job


STAND_IN = """#!/bin/sh
echo "$*" >> asked
case "$*" in *{failing}*) exit 1;; esac
for word; do case $word in --benchmark-json=*) touch "${{word#*=}}";; esac; done
"""


def make(folder, *arguments):
    """`make` with a stand-in for Python: its exit code, and what Python was asked for."""
    (folder / "asked").unlink(missing_ok=True)
    done = subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True)
    asked = folder / "asked"
    return done.returncode, asked.read_text().splitlines() if asked.exists() else []


def test_make_results_goes_on_after_a_failure_and_skips_what_is_done(tmp_path):
    binary = tmp_path / ".venv" / "bin"
    binary.mkdir(parents=True)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for name in ("pyproject.toml", "constraints.txt", ".venv/ready"):
        (tmp_path / name).touch()
    python = binary / "python"

    def fail(what):
        python.write_text(STAND_IN.format(failing=what))
        python.chmod(0o755)

    rest = [f"reproductions/{name}.py -m" for name in ("table1", "table2", "table3", "table4")]
    rest += [f"reproductions/{name}.py -m" for name in ("figure4", "accuracy", "scaling")]
    timed = "-m pytest --benchmark-only --benchmark-json=runs/benchmark.json tests/benchmarks"
    counted = "-m invconv.bench cuda_resources"
    added = "-m invconv report --from-benchmark runs/benchmark.json"
    last = "-m invconv report --readme"

    fail("benchmark-only")
    assert make(tmp_path, "results") == (2, [timed, counted, *rest, last])
    fail("cuda_resources")
    (tmp_path / "runs" / "cuda_resources").unlink()
    assert make(tmp_path, "results") == (2, [timed, counted, *rest, added, last])
    fail("table3")
    assert make(tmp_path, "results") == (2, [counted, *rest, added, last])
    fail("nothing")
    assert make(tmp_path, "results") == (0, [*rest, added, last])
    assert make(tmp_path, "--dry-run", "results") == (0, [])
    fail("table1")
    code, asked = make(tmp_path, "results-full")
    assert code == 2
    assert asked[: len(rest) + 2] == [*rest, added, last]
    assert asked[-2:] == ["reproductions/figure4.py -m preset=paper", last]
