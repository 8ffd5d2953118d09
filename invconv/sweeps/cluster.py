"""What a sweep asks SLURM, and what it says to a user whose cluster cannot take it."""

import getpass
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STARTING_S = 90
"""SLURM may send its signal a minute early; half a minute is for Python to start."""

ANSWER_S = 60
"""So long SLURM may take to answer."""

ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "REVOKED",
    "TIMEOUT",
)


class ClusterError(Exception):
    """The cluster, or what is asked of it, cannot work; one sentence that says what to do."""


def check(folder: Path, options: Mapping[str, Any]) -> None:
    """Refuses what would fail or hang later.

    Args:
        folder: the sweep's, which the nodes have to see, too.
        options: of `hydra.launcher`.

    Raises:
        ClusterError: for the first thing that is wrong.
    """
    if not shutil.which("sbatch"):
        raise ClusterError(
            "there is no sbatch on PATH: start the sweep on a login node (perhaps after `module "
            "load slurm`), or run it here with launch=basic"
        )
    limit, delay = 60 * options["timeout_min"], options["signal_delay_s"]
    if limit < delay + STARTING_S:
        raise ClusterError(
            f"hydra.launcher.timeout_min={options['timeout_min']} is too short to be warned and "
            f"requeued: the signal comes {delay} s before the limit and up to a minute early, so "
            f"that at least {-(-(delay + STARTING_S) // 60)} minutes are needed, or a smaller "
            "hydra.launcher.signal_delay_s"
        )
    check_writable(folder)
    names = _ask("sinfo", "--noheader", "--format=%R").split()
    partition = options.get("partition")
    for name in partition.split(",") if partition else ():
        if name not in names:
            raise ClusterError(
                f"there is no partition {name!r}: hydra.launcher.partition can be "
                f"{', '.join(sorted(set(names)))}"
            )


def check_writable(folder: Path) -> None:
    """Raises ClusterError if no file can be made in ``folder``."""
    probe = folder / f".{uuid.uuid4().hex}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ClusterError(
            f"the sweep directory {folder} cannot be written ({error.strerror}): choose another "
            "one with runs=..., on a file system that all nodes share"
        ) from error


def accounting() -> str:
    """Why `sacct` does not work; "" if it does."""
    if not shutil.which("sacct"):
        return "there is none on PATH"
    command = ["sacct", "-X", "-o", "JobID"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    except subprocess.TimeoutExpired:
        return f"no answer within {ANSWER_S} s"
    return _first_line(asked.stderr) if asked.returncode else ""


def queue() -> dict[str, str] | None:
    """State and reason of this user's jobs by number (of arrays: array_task).

    Jobs that have ended stay for a while, `MinJobAge`. None if SLURM does not answer.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%F|%K|%T|%r"]
    try:
        asked = _ask(*command, f"--user={getpass.getuser()}")
    except ClusterError:
        return None
    found = {}
    for line in asked.splitlines():
        array, task, state, reason = line.split("|")
        job = array if task in ("N/A", "") else f"{array}_{task}"
        found[job] = state if reason in ("None", "") else f"{state} ({reason})"
    return found


def release(job: str) -> str:
    """Lets a held job start again; why SLURM refused, "" if it did not."""
    try:
        _ask("scontrol", "release", job)
    except ClusterError as error:
        return str(error)
    return ""


def largest_array() -> int:
    """How many tasks an array may have here."""
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"))
    return int(match[1]) if match else 1001


def ended(words: str) -> bool:
    """Whether a job of this state is over."""
    return words.startswith(ENDED)


def refusal(error: Exception) -> ClusterError:
    """What sbatch said, as one sentence."""
    said = _first_line(str(error)).removeprefix("sbatch: error: ")
    return ClusterError(f"sbatch refused the jobs: {said}")


def _ask(*command: str) -> str:
    try:
        asked = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{command[0]} does not answer: {error}") from error
    if asked.returncode:
        raise ClusterError(f"{command[0]} does not answer: {_first_line(asked.stderr)}")
    return asked.stdout


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
