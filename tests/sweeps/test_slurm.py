"""Sweeps on a real SLURM, where everything goes wrong that can."""

import os
import re
import signal
import subprocess

import pytest
from single_node import TINY, Sweep

from invconv.rows import read_row, read_table
from invconv.rows.provenance import ROOT
from invconv.sweeps import cluster, states
from invconv.sweeps.locks import attempts

pytestmark = pytest.mark.slurm


LONG = (*TINY, "method=finc", "budget.training.steps=170")
LIMIT = ("hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=30")


def outcomes(sweep):
    return [states.attempts(folder) for folder in sweep.cells()]


def test_four_cells_of_which_some_raise(slurm, tmp_path):
    sweep = Sweep(tmp_path, slurm, *TINY, "method=glow,finc", "budget.levels=9,2")
    code, text = sweep.run()
    assert code == 1
    assert "4 cells wait or run" in text
    assert "2 of 4 cells ok" in text
    cells = r"tiny-digits-glow-s0-\w+, tiny-digits-finc-s0-\w+"
    assert re.search(f"{cells}: refused: 9 levels halve the image 9 times", text)
    assert sorted(outcomes(sweep)) == [["ok"]] * 2 + [["refused"]] * 2
    frame = read_table(tmp_path / "runs" / "tiny" / "results" / "data" / "table2.csv")
    assert frame["status"].tolist() == ["ok"] * 2
    arrays = {attempts(cell)[0].job for cell in sweep.cells()}
    assert len({job.partition("_")[0] for job in arrays}) == 1
    assert len(arrays) == 4
    code, text = sweep.run("budget.levels=2")  # what is done is not even submitted
    assert code == 0
    assert "wait or run" not in text
    assert "2 of 2 cells ok" in text


@pytest.mark.slow
def test_a_killed_cell_a_killed_parent_scancel_and_two_sweeps_at_once(slurm, tmp_path):
    sweep = Sweep(
        tmp_path,
        slurm,
        *TINY,
        "method=glow",
        "seed=0,1,2,3",
        "hydra.launcher.array_parallelism=2",
        "budget.training.steps=30",
        step_seconds=0.5,
    )
    assert "4 cells: 4 missing" in sweep.invconv("list", "runs/tiny/table2", *sweep.overrides)
    assert not sweep.runs.exists()
    parent = sweep.start()
    sweep.wait_for(lambda: len(sweep.training()) == 2, "two cells train")
    parent.kill()
    parent.wait()
    killed, process = sorted(sweep.training().items())[0]
    assert states.state(sweep.runs, killed.name).words.startswith(f"process {process} on ")
    os.kill(process, signal.SIGKILL)
    sweep.wait_for(
        lambda: any(read_row(cell / "row.json") for cell in sweep.cells()), "a row without parent"
    )
    jobs = {job.partition("_")[0] for job in states.read_grid(sweep.runs)["jobs"].values()}
    sweep.slurm("scancel", *jobs)
    sweep.wait_for(lambda: not jobs & {j.partition("_")[0] for j in sweep.queue()}, "scancel")
    listed = sweep.invconv("list", "runs/tiny/table2")
    assert re.search(rf"{killed.name} +died( at step .*,|:) attempt 1, SLURM job ", listed)
    assert re.search(r"4 cells: .*\d ok", listed)
    assert "table2: " in sweep.invconv("collect", "runs/tiny/table2", "--results", "partial")
    partial = read_table(tmp_path / "partial" / "data" / "table2.csv")
    finished = [cell for cell in sweep.cells() if states.attempts(cell)[-1] == "ok"]
    assert sorted(partial["cell"]) == [cell.name for cell in finished]
    assert 1 <= len(finished) < 4

    logs = [tmp_path / "one.log", tmp_path / "two.log"]
    both = [sweep.start(log=log) for log in logs]
    assert [parent.wait(timeout=200) for parent in both] == [0, 0], [
        log.read_text() for log in logs
    ]
    for log in logs:
        count = re.search(r"(\d) cells wait or run", log.read_text())
        assert int(count[1]) == 4 - len(finished)
        assert "4 of 4 cells ok" in log.read_text()
    assert [cell.count("ok") for cell in outcomes(sweep)] == [1] * 4
    assert all(states.attempts(cell) == ["ok"] for cell in finished)
    assert "4 cells: 4 ok" in sweep.invconv("list", "runs/tiny/table2")


def test_the_mistakes_of_a_user_whom_the_cluster_answers(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm["SLURM_CONF"])
    options = {"timeout_min": 60, "signal_delay_s": 120, "partition": "main"}
    cluster.check(options)
    with pytest.raises(cluster.ClusterError, match=r"no partition 'gpu': .* can be main"):
        cluster.check({**options, "partition": "gpu"})
    assert "accounting storage is disabled" in cluster.accounting()
    sweep = Sweep(tmp_path, slurm, "hydra.launcher.account=a", *TINY, "hydra.launcher.qos=b")
    code, text = sweep.run("hydra.launcher.partition=gpu")
    assert code == 1
    said = "table2: there is no partition 'gpu': hydra.launcher.partition can be main\n"
    assert text.startswith(said)


@pytest.mark.slow
def test_a_sweep_directory_that_the_nodes_do_not_see(slurm, tmp_path):
    sweep = Sweep(tmp_path, slurm, *TINY, "method=glow", "runs=hidden/runs", "results=results")
    command = "mkdir -p hidden && mount -t tmpfs none hidden && exec " + " ".join(
        ["python", sweep.script, "-m", *sweep.overrides]
    )
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]).returncode:
        pytest.skip("may not mount a folder that only one process sees")
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", command],
        cwd=tmp_path,
        env={**sweep.environment, "PATH": f"{ROOT}/.venv/bin:{sweep.environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 1
    assert "left neither row nor log in" in done.stderr
    assert "the nodes do not see this folder; choose one that they share" in done.stderr


@pytest.mark.slow
def test_a_cell_outlives_its_limit_is_requeued_and_resumes(slurm, tmp_path):
    outliving = Sweep(tmp_path / "limit", slurm, *LONG, *LIMIT, step_seconds=0.5)
    outliving.folder.mkdir()
    code, text = outliving.run()
    assert code == 0, text
    (cell,) = outliving.cells()
    *before, last = states.attempts(cell)
    assert last == "ok"
    assert set(before) == {"interrupted"}
    logs = "".join(path.read_text() for path in outliving.runs.glob(".submitit/*/*_log.out"))
    assert "this job is timed-out" in logs
    assert f"({20 - len(before)} remaining timeouts)" in logs

    whole = Sweep(tmp_path, slurm, *LONG, launch=())
    assert whole.run()[0] == 0
    expected = read_row(whole.cells()[0] / "row.json")
    found = read_row(cell / "row.json")
    assert whole.cells()[0].name == cell.name
    assert found.values["bpd"] == expected.values["bpd"]
    assert found.values["valid_bpd"] == expected.values["valid_bpd"]
