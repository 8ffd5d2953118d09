"""Waiting for SLURM jobs by what squeue and the cells' folders say."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from invconv.sweeps import cluster, states
from invconv.sweeps.locks import attempts

HELD = "PENDING (launch failed requeued held)"
"""SLURM could not start the job, often for what its last attempt left there, and tries no more."""

RELEASES = 3
"""So often a held job is tried again; a node where it cannot start may be broken."""


def watch(table: str, runs: Path, jobs: Mapping[str, str]) -> dict[str, str]:
    """Waits until every job is over; what squeue said of each last.

    squeue lists jobs that ended for minutes, but not for ever; one that is requeued may look
    ended for a moment, so that a cell without a row counts as over when it looked so twice.
    A job that SLURM holds because its launch failed is released, `RELEASES` times at most.
    """
    left, last, told = dict(jobs), dict.fromkeys(jobs, ""), ""
    start = time.monotonic()
    suspects: set[str] = set()
    held: Counter[str] = Counter()
    while left:
        found = cluster.queue()
        if found is None:
            text = "squeue does not answer; asking again"
        else:
            last |= {cell: found[job] for cell, job in left.items() if job in found}
            over = left.keys() - cluster.unended(left, found)
            suspects = {
                cell for cell in over - suspects if states.row_status(runs / cell) == "missing"
            }
            left = {cell: job for cell, job in left.items() if cell not in over - suspects}
            counts = Counter(found.get(job, "COMPLETED") for job in left.values())
            words = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
            text = f"{len(jobs) - len(left)} of {len(jobs)} jobs over, {words}"
            for job in (job for job in left.values() if found.get(job) == HELD):
                held[job] += 1
                _release(table, job, held[job])
        if left and text != told:
            print(f"{table}: {text}", flush=True)
            told = text
        if left:
            time.sleep(min(30.0, max(1.0, 0.02 * (time.monotonic() - start))))
    return last


def _release(table: str, job: str, seen: int) -> None:
    if seen <= RELEASES:
        refused = cluster.release(job)
        became = f"not released, {refused}" if refused else "released"
        print(f"{table}: SLURM held job {job}, whose launch failed: {became}", flush=True)
    elif seen == RELEASES + 1:
        cure = f"`scontrol release {job}` tries once more, `scancel {job}` gives it up"
        print(
            f"{table}: SLURM still holds job {job} after {seen - 1} releases: {cure}", flush=True
        )


def silence(logs: str, runs: Path, jobs: Mapping[str, str], last: Mapping[str, str]) -> str:
    """What is to be said of jobs that ran and left neither an attempt nor a log; "" of none."""
    silent = [
        f"SLURM job {job} ({last[cell] or 'gone'})"
        for cell, job in jobs.items()
        if not last[cell].startswith("CANCELLED")
        and not attempts(runs / cell)
        and not any(Path(logs.replace("%j", job)).glob("*_log.*"))
    ]
    if not silent:
        return ""
    others = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
    return (
        f"{silent[0]}{others} left neither row nor log in {runs.absolute()}: the nodes do not see "
        "this folder; choose one that they share, with runs=..."
    )
