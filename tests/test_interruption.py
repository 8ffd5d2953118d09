"""Training runs that are killed, warned, or spread over several processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from invconv.flows.files import read_checkpoint
from invconv.training.interruption import Interruption

SCRIPT = Path(__file__).with_name("training_run.py")


def start(*arguments, launcher=()):
    command = [sys.executable, *launcher, str(SCRIPT), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.split()[-1]


def wait_for_checkpoint(process, folder):
    deadline = time.monotonic() + 100
    while not (folder / "last.pt").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return finish(start(tmp_path_factory.mktemp("whole"), 400))


def test_killed_in_the_middle_of_training(tmp_path, expected):
    process = start(tmp_path, 400)
    wait_for_checkpoint(process, tmp_path)
    process.kill()
    process.communicate()
    assert 0 < read_checkpoint(tmp_path / "last.pt")["state"]["step"] < 400
    assert finish(start(tmp_path, 400)) == expected


def test_killed_in_the_middle_of_writing_a_checkpoint(tmp_path, expected):
    process = start(tmp_path, 400, "half-a-checkpoint")
    process.communicate(timeout=100)
    assert process.returncode == -signal.SIGKILL
    assert list(tmp_path.glob("last.pt.*.partial"))
    assert read_checkpoint(tmp_path / "last.pt")["state"]["step"] == 10
    assert finish(start(tmp_path, 400)) == expected
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
    process = start(tmp_path, 400, "requeue")
    wait_for_checkpoint(process, tmp_path)
    time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=100)
    assert process.returncode == code
    steps = read_checkpoint(tmp_path / "last.pt")["state"]["step"]
    assert 5 < steps < 400
    assert finish(start(tmp_path, 400)) == expected


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
    pair = start(tmp_path / "pair", 25, launcher=launcher)
    out, err = pair.communicate(timeout=200)
    assert pair.returncode == 0, err
    # torch 2.10 has Gloo say on standard output who is connected
    said = [line for line in out.splitlines() if not line.startswith("[Gloo]")]
    first, second = map(float, said)
    assert first == second
    one = float(finish(start(tmp_path / "one", 25, "whole", 2)))
    assert first == pytest.approx(one, abs=1e-3)
    ranks = [torch.load(tmp_path / "pair" / f"rank{rank}.pt") for rank in range(2)]
    torch.testing.assert_close(*ranks, rtol=0, atol=0)
    names = {path.name for path in (tmp_path / "pair").iterdir()}
    assert names == {"best.pt", "last.pt", "log.csv", "rank0.pt", "rank1.pt"}
