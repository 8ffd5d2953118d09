"""Training runs that are killed, warned, or spread over several processes."""

import os
import signal
import subprocess
import sys
import time

import forked
import pytest
import torch

from invconv.flows.files import read_checkpoint
from invconv.rows.provenance import ROOT
from invconv.training.interruption import Interruption

SCRIPT = ROOT / "tests" / "training_run.py"


STEPS = 120


def start(folder, *mode, steps=STEPS):
    return forked.Started(SCRIPT, folder, steps, *mode, cwd=folder.parent)


def finish(process):
    done = process.finish(timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def wait_for_checkpoint(process, folder):
    deadline = time.monotonic() + 100
    while not (folder / "last.pt").exists():
        assert process.process.is_alive(), process.finish().stderr
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return finish(start(tmp_path_factory.mktemp("whole")))


def test_killed_in_the_middle_of_training(tmp_path, expected):
    process = start(tmp_path)
    wait_for_checkpoint(process, tmp_path)
    process.signal(signal.SIGKILL)
    assert process.finish().returncode == -signal.SIGKILL
    assert 0 < read_checkpoint(tmp_path / "last.pt")["state"]["step"] < STEPS
    assert finish(start(tmp_path)) == expected


def test_killed_in_the_middle_of_writing_a_checkpoint(tmp_path, expected):
    assert start(tmp_path, "half-a-checkpoint").finish(100).returncode == -signal.SIGKILL
    assert list(tmp_path.glob("last.pt.*.partial"))
    assert read_checkpoint(tmp_path / "last.pt")["state"]["step"] == 10
    assert finish(start(tmp_path)) == expected
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, -15),
        pytest.param(signal.SIGUSR2, 7, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, -1, marks=pytest.mark.slow),
    ],
)
def test_a_warning_writes_a_checkpoint_and_is_handed_on(tmp_path, expected, number, code):
    """SIGTERM and SIGHUP end the process as ever, SIGUSR2 runs the scheduler's handler."""
    process = start(tmp_path, "requeue")
    wait_for_checkpoint(process, tmp_path)
    time.sleep(0.05)
    process.signal(number)
    assert process.finish(100).returncode == code
    steps = read_checkpoint(tmp_path / "last.pt")["state"]["step"]
    assert 5 < steps < STEPS
    assert finish(start(tmp_path)) == expected


def test_a_signal_that_is_ignored_lets_the_run_go_on():
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGUSR2)
            assert interruption.signal == signal.SIGUSR2
            interruption.pass_on()
            assert interruption.signal is None
            os.kill(os.getpid(), signal.SIGUSR2)
            assert interruption.signal == signal.SIGUSR2
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.slow
def test_two_processes_train_like_one_with_two_slices(tmp_path):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *launcher, str(SCRIPT), str(tmp_path / "pair"), "25"]
    pair = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert pair.returncode == 0, pair.stderr
    # torch 2.10 has Gloo say on standard output who is connected
    said = [line for line in pair.stdout.splitlines() if not line.startswith("[Gloo]")]
    first, second = map(float, said)
    assert first == second
    one = float(finish(start(tmp_path / "one", "whole", 2, steps=25)))
    assert first == pytest.approx(one, abs=1e-3)
    ranks = [torch.load(tmp_path / "pair" / f"rank{rank}.pt") for rank in range(2)]
    torch.testing.assert_close(*ranks, rtol=0, atol=0)
    names = {path.name for path in (tmp_path / "pair").iterdir()}
    assert names == {"best.pt", "last.pt", "log.csv", "rank0.pt", "rank1.pt"}
