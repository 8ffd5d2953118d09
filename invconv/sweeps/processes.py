"""Processes, as they tell each other through files who they are and whether they live."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

from invconv.rows.row import now

PROC = Path("/proc")


def myself() -> dict[str, Any]:
    """What a claim of this process says."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "pids": process_table(),
        "job": slurm_job(),
        "date": now(),
    }


def slurm_job() -> str:
    """The SLURM job (of an array: array_task) that this process belongs to, or ""."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID", "")


def lives_here(held: dict[str, Any]) -> bool:
    """Whether the process that `myself` described is one of this machine, and exists."""
    return (
        bool(held)
        and held["pids"] == process_table()
        and held["started"] is not None
        and held["started"] == _started(held["pid"])
    )


def ran_out(job: str) -> bool:
    """Whether squeue says that the job does not run; False if it says nothing."""
    command = ["squeue", "--noheader", "--states=R,CG,CF,S,ST,SI", "--jobs", job]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    if asked.returncode:
        return "Invalid job id" in asked.stderr
    return not asked.stdout.strip()


def describe(held: dict[str, Any]) -> str:
    """The holder in a few words."""
    if not held:
        return "another process"
    job = f", SLURM job {held['job']}" if held.get("job") else ""
    return f"process {held['pid']} on {held['host']}{job}, since {held['date']}"


def process_table() -> str:
    """What tells two tables of processes apart: the boot and the namespace of process numbers."""
    if not (PROC / "self").exists():  # not Linux: process numbers are the machine's
        return socket.gethostname()
    boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"


def _started(pid: int) -> str | None:
    """When the process started; None if there is none, or only its corpse.

    Process numbers are used again; the number and this are not.
    """
    if not (PROC / "self").exists():
        said = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True
        ).stdout
        state, _, started = said.strip().partition(" ")
        return None if state[:1] in ("", "Z") else started.strip()
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]
