"""The sbatch examples, a detached sweep and the trial of all faults, on a real SLURM."""

import os
import subprocess
import sys

import pytest
import single_node
from single_node import LAUNCH, TINY, Sweep

from invconv.rows import read_row, read_table
from invconv.rows.provenance import ROOT
from invconv.sweeps import states

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def submit(sweep, script, *arguments, options=()):
    """Submits one of the examples from the sweep's folder, and waits until its job is over."""
    link = sweep.folder / "reproductions"
    if not link.exists():
        link.symlink_to(ROOT / "reproductions")
    sweep.environment["PYTHON"] = sys.executable
    command = ["sbatch", "--parsable", *options, str(ROOT / "slurm" / script), *arguments]
    done = subprocess.run(
        command, cwd=sweep.folder, env=sweep.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_parent_as_a_job_of_its_own(slurm, tmp_path):
    sweep = Sweep(tmp_path, slurm)
    wanted = (*TINY, "cluster=single_node", "method=glow,finc", "progress=false")
    job = submit(sweep, "controller.sbatch", "table2", *wanted)
    sweep.wait_for(lambda: job not in sweep.queue(), "the controller")
    log = (tmp_path / f"sweep-{job}.log").read_text()
    assert "2 of 2 cells ok" in log
    assert [states.attempts(cell) for cell in sweep.cells()] == [["ok"]] * 2


def test_a_detached_sweep(slurm, tmp_path):
    sweep = Sweep(tmp_path, slurm, *TINY, "method=glow", "launch.detach=true")
    code, text = sweep.run()
    assert code == 0
    assert "python -m invconv list runs/tiny/table2" in text
    sweep.wait_for(lambda: "1 ok" in sweep.invconv("list", "runs/tiny/table2"), "the cell")
    assert "table2: 1 rows" in sweep.invconv("collect", "runs/tiny/table2")


def test_a_cell_on_several_processes_is_warned_and_requeued(slurm, tmp_path):
    sweep = Sweep(tmp_path, slurm, step_seconds=0.2)
    sweep.environment |= {"PROCESSES": "2", "STEP_PROGRAM": "table2.py"}
    wanted = (*TINY, "method=finc", "budget.training.steps=100")
    options = ["--gpus-per-node=0", "--cpus-per-task=2"]
    job = submit(sweep, "multi_gpu.sbatch", *wanted, options=options)
    sweep.wait_for(lambda: sweep.training(), "the training")
    sweep.slurm("scancel", "--signal=USR2", "--batch", job)
    sweep.wait_for(lambda: job not in sweep.queue(), "the cell")
    (cell,) = sweep.cells()
    log = (tmp_path / f"cell-{job}.log").read_text()
    assert "waiting for a checkpoint" in log
    assert states.attempts(cell)[-1] == "ok", log
    assert len(states.attempts(cell)) == 2
    found = read_row(cell / "row.json")

    whole = Sweep(tmp_path / "whole", slurm, *wanted, launch=())
    whole.folder.mkdir()
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
    ]
    command = [*torchrun, whole.script, "-m", *whole.overrides]
    subprocess.run(command, cwd=whole.folder, env=whole.environment, check=True)
    assert read_row(whole.cells()[0] / "row.json").values["bpd"] == found.values["bpd"]


def test_the_trial_of_all_faults(tmp_path):
    if single_node.missing():
        pytest.skip("no SLURM")
    script = [sys.executable, str(ROOT / "slurm" / "faults.py"), "--results", str(tmp_path)]
    sizes = ["--cells", "5", "--rounds", "1", "--trivial", "10"]
    subprocess.run([*script, *sizes], check=True, env=os.environ, timeout=900)
    rows = read_table(tmp_path / "data" / "faults.csv").set_index("cell")
    assert rows.loc["faults", ["lost", "repeated", "other_bpd"]].tolist() == [0, 0, 0]
    assert "cells lost" in (tmp_path / "faults.md").read_text()
    assert LAUNCH[0] in (tmp_path / "faults.md").read_text()
