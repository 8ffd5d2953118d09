"""A real SLURM on this machine, and sweeps that are sent to it."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from invconv.rows.provenance import ROOT
from invconv.sweeps import cluster
from invconv.sweeps.locks import ATTEMPTS, attempts

SCRIPT = ROOT / "slurm" / "single_node.sh"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
LAUNCH = ("launch=slurm", "cluster=single_node")
TINY = ("preset=tiny", "dataset=digits", "part=train")


def missing():
    """The programs that are not installed."""
    path = os.environ["PATH"] + ":/usr/sbin"
    return [program for program in PROGRAMS if not shutil.which(program, path=path)]


def start(folder, nodes=1):
    """Starts a cluster; the environment in which its commands work."""
    if missing():
        reason = f"no {', '.join(missing())}: apt-get install slurmctld slurmd slurm-client munge"
        if os.environ.get("INVCONV_REQUIRE_SLURM"):
            pytest.fail(reason)
        pytest.skip(reason)
    environment = {**os.environ, "CPUS": "8", "NODES": str(nodes), "OMP_NUM_THREADS": "1"}
    started = subprocess.run(
        [SCRIPT, "start", folder], env=environment, capture_output=True, text=True
    )
    assert started.returncode == 0, started.stderr
    return {
        **environment,
        "SLURM_CONF": str(folder / "slurm.conf"),
        "INVCONV_COMMIT": "tested",
    }


def stop(folder):
    """Stops the cluster."""
    subprocess.run([SCRIPT, "stop", folder], check=True)


class Sweep:
    """One command line in one folder, which can be given again and again."""

    def __init__(self, folder, environment, *overrides, step_seconds=0.0, launch=LAUNCH):
        self.folder, self.overrides = folder, (*launch, "progress=false", *overrides)
        self.environment = {**environment, "STEP_SECONDS": str(step_seconds)}
        self.script = str(ROOT / "reproductions" / "table2.py")
        self.log = folder / "parent.log"

    def start(self, *more, log=None):
        """The parent process."""
        with (log or self.log).open("a") as file:
            return subprocess.Popen(
                [sys.executable, self.script, "-m", *self.overrides, *more],
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def run(self, *more):
        """The exit code of the parent, and what it printed."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        code = self.start(*more).wait(timeout=280)
        return code, self.log.read_text()[begin:]

    def invconv(self, *arguments):
        """What `python -m invconv` prints, run in the folder."""
        command = [sys.executable, "-m", "invconv", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        return done.stdout + done.stderr

    def slurm(self, *command):
        """Runs a command of SLURM."""
        subprocess.run(command, env=self.environment, check=True, capture_output=True)

    def wait_for(self, condition, what):
        """Waits until ``condition`` is true."""
        deadline = time.monotonic() + 150
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.log.read_text()}"
            time.sleep(0.2)

    @property
    def runs(self):
        """The sweep's folder."""
        return self.folder / "runs" / "tiny" / "table2"

    def cells(self):
        """The folders of the cells that were begun."""
        return sorted(path.parent for path in self.runs.glob(f"*/{ATTEMPTS}"))

    def training(self):
        """The folders and process numbers of the cells that are being trained."""
        found = {}
        for folder in self.cells():
            last = attempts(folder)[-1:]
            if (folder / "log.csv").exists() and [one.outcome for one in last] == ["running"]:
                found[folder] = last[0].pid
        return found

    def queue(self):
        """The jobs of the cluster that are not over."""
        before = os.environ.get("SLURM_CONF")
        os.environ["SLURM_CONF"] = self.environment["SLURM_CONF"]
        jobs = cluster.queue() or {}
        os.environ.pop("SLURM_CONF") if before is None else os.environ.update(SLURM_CONF=before)
        return {job: words for job, words in jobs.items() if not cluster.ended(words)}
