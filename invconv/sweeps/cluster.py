"""What a sweep asks SLURM, and what it says to a user whose cluster cannot take it."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

STARTING_S = 90
"""SLURM may send its signal a minute early; half a minute is for Python to start."""

ANSWER_S = 60
"""So long SLURM may take to answer."""

ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "REVOKED", "TIMEOUT"),
)


class ClusterError(Exception):
    """The cluster, or what is asked of it, cannot work; one sentence that says what to do."""


def check(options: Mapping[str, Any]) -> None:
    """Raise ClusterError for options of `hydra.launcher` that would fail or hang later."""
    if not shutil.which("sbatch"):
        raise ClusterError(
            "there is no sbatch on PATH: start the sweep on a login node (perhaps after `module "
            "load slurm`), or run it here with launch=basic"
        )
    needed = options["signal_delay_s"] + STARTING_S
    if 60 * options["timeout_min"] < needed:
        raise ClusterError(
            f"hydra.launcher.timeout_min={options['timeout_min']} is too short to be warned and "
            f"requeued: the signal comes {options['signal_delay_s']} s before the limit and up to "
            f"a minute early, so that at least {-(-needed // 60)} minutes are needed, or a "
            "smaller hydra.launcher.signal_delay_s"
        )
    names = set(_ask("sinfo", "--noheader", "--format=%R").split())
    for name in (options.get("partition") or "").split(","):
        if name and name not in names:
            raise ClusterError(
                f"there is no partition {name!r}: hydra.launcher.partition can be "
                f"{', '.join(sorted(names))}"
            )


def queue() -> dict[str, str] | None:
    """State and reason of this user's jobs by number (of arrays: array_task).

    Jobs that have ended stay for a while, `MinJobAge`. None if SLURM does not answer.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%F|%K|%T|%r"]
    try:
        asked = _ask(*command, f"--user={os.getuid()}")
    except ClusterError:
        return None
    found = {}
    for line in asked.splitlines():
        if line.startswith("CLUSTER:"):  # with SLURM_CLUSTERS in the environment
            continue
        array, task, state, reason = line.split("|")
        job = array if task in ("N/A", "") else f"{array}_{task}"
        found[job] = state if reason in ("None", "") else f"{state} ({reason})"
    return found


def ended(words: str) -> bool:
    """Whether a job of this state is over."""
    return words.startswith(ENDED)


def unended(jobs: Mapping[str, str], queue: Mapping[str, str]) -> dict[str, str]:
    """Those of ``jobs``, by cell, that the `queue` lists as waiting or running."""
    return {cell: job for cell, job in jobs.items() if not ended(queue.get(job, "COMPLETED"))}


def largest_array() -> int:
    """How many tasks an array may have here."""
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"))
    return int(match[1]) if match else 1001


def accounting() -> str:
    """Why `sacct` does not work; "" if it does."""
    if not shutil.which("sacct"):
        return "there is none on PATH"
    return _complaint("sacct", "-X", "-o", "JobID").removeprefix("sacct does not answer: ")


def release(job: str) -> str:
    """Lets a held job start again; why SLURM refused, "" if it did not."""
    return _complaint("scontrol", "release", job)


def refusal(error: Exception) -> ClusterError:
    """What sbatch said, as one sentence."""
    said = _first_line(str(error)).removeprefix("sbatch: error: ")
    return ClusterError(f"sbatch refused the jobs: {said}")


def _complaint(*command: str) -> str:
    try:
        _ask(*command)
    except ClusterError as error:
        return str(error)
    return ""


def _ask(*command: str) -> str:
    filters = ("SQUEUE_", "SINFO_")  # variables that hide jobs and partitions
    mine = {name: value for name, value in os.environ.items() if not name.startswith(filters)}
    text: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}
    try:
        asked = subprocess.run(
            command,
            capture_output=True,
            timeout=ANSWER_S,
            env={**mine, "LC_ALL": "C"},
            check=True,
            **text,
        )
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"{command[0]} does not answer: {_first_line(error.stderr)}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{command[0]} does not answer: {error}") from error
    return asked.stdout


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
