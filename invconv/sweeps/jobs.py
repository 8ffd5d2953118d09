"""Cells as jobs through submitit: on SLURM, or a few at a time on this machine."""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from submitit.core.utils import FailedJobError, FailedSubmissionError

from invconv.rows import Status, read_row
from invconv.sweeps import cluster, states
from invconv.sweeps.application import SweepError, Task, one_sentence
from invconv.sweeps.cells import Cell
from invconv.sweeps.config import Launch
from invconv.sweeps.local import ended

Options = Mapping[str, Any]  # what `hydra.launcher` is configured to
SHARED = tuple(BaseQueueConf.__dataclass_fields__)
HELD = "PENDING (launch failed requeued held)"
"""SLURM could not start the job, often for what its last attempt left there, and tries no more."""

RELEASES = 3
"""So often a held job is tried again; a node where it cannot start may be broken."""


def unfinished(table: str, cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """The cells that a launch has to start; it says how many have a row elsewhere."""
    some = next(iter(cells.values())).config
    elsewhere = states.collected(table, some) & cells.keys()
    if elsewhere:
        count = f"{len(elsewhere)} of {len(cells)} cells are"
        print(f"{table}: {count} skipped, their rows are in {some.results}", flush=True)
    return {
        name: cell
        for name, cell in cells.items()
        if name not in elsewhere
        and (
            states.forced(cell.config, cell.folder) or states.row_status(cell.folder) != Status.OK
        )
    }


def checkpoints(folder: Path) -> list[int]:
    """When the checkpoint in a cell's folder was written, if there is one."""
    return [path.stat().st_mtime_ns for path in folder.glob("last.pt")]


def check_progress(folder: Path, started: float, found: list[int], options: Options) -> None:
    """Raise TimeoutError if a job used up its time without a checkpoint: it would never end.

    It ``found`` these `checkpoints` in the cell's folder when it ``started``.
    """
    limit, delay = 60 * options["timeout_min"], options.get("signal_delay_s", 30)
    if time.time() - started > limit - delay - cluster.STARTING_S and checkpoints(folder) == found:
        raise TimeoutError(
            f"the job's limit of {limit / 60:.0f} minutes came before a checkpoint: "
            "raise hydra.launcher.timeout_min"
        )


@dataclass(frozen=True)
class Jobs:
    """Cells that are not done and become jobs, each of which calls ``call`` with its arguments."""

    call: Callable[..., object]
    task: Task
    options: Options
    cells: Mapping[str, Cell]
    launch: Launch
    runs: Path

    def run_locally(self) -> None:
        """Run each in a process of its own, ``launch.side_by_side`` at a time.

        Cells that time something come first, and each is alone. The others share the cores. When
        the sweep is stopped each writes its checkpoint and ends.
        """
        table, launch = self.task.application, self.launch
        if launch.detach:
            raise SweepError(f"{table.name}: launch.detach=true needs a cluster: launch=slurm")
        executor = self._executor("local")
        timed = [cell for cell in self.cells.values() if table.times(cell.config)]
        others = [cell for cell in self.cells.values() if not table.times(cell.config)]
        if not self.cells:
            return
        self.task.warn_if_busy()
        forecast, left = self.task.foresee(), dict(self.cells)
        for cells, most in ((timed, 1), (others, launch.side_by_side)):
            before = time.monotonic()
            with closing(ended(executor, self.call, cells, most)) as names:
                for name in names:
                    cell, now = left.pop(name), time.monotonic()
                    forecast.add(cell, now - before)
                    before = now
                    place = f"[{len(self.cells) - len(left)}/{len(self.cells)}] {name}"
                    still = forecast.left(left.values())
                    print(f"{place}: {self._became(cell)}{still}", flush=True)

    def _became(self, cell: Cell) -> str:
        """What an ok row says, otherwise the cell's state."""
        state = states.state(self.runs, cell.name)
        row = read_row(cell.folder / states.ROW) if state.status == Status.OK else None
        return self.task.application.told(row) if row else str(state)

    def run_on_slurm(self) -> None:
        """Submit those that no earlier launch has, and wait for all unless ``launch.detach``.

        Raises SweepError if the cluster cannot take the cells, or does not answer.
        """
        if not self.cells:
            return
        table = self.task.application.name
        with one_sentence(table):
            jobs = self._submit_all()
        numbers = " ".join(sorted({job.partition("_")[0] for job in jobs.values()}, key=int))
        print(f"{len(jobs)} cells wait or run; jobs {numbers}")
        if self.launch.detach:
            self.task.detached = True
            print(f"see: python -m invconv list {self.runs}; stop: scancel {numbers}")
            print(f"the table, at any time: python -m invconv collect {self.runs}")
            return
        try:
            last = watch(table, self.runs, jobs)
        except KeyboardInterrupt:
            print(f"\nthe jobs go on; the same command waits again; stop: scancel {numbers}")
            raise
        if unseen := silence(self.options["submitit_folder"], self.runs, jobs, last):
            print(f"{table}: {unseen}", file=sys.stderr)

    def _submit_all(self) -> dict[str, str]:
        """Each cell's job, of this launch or of an earlier one."""
        cluster.check(self.options)
        if reason := cluster.accounting():
            print(
                f"sacct does not work here ({reason}): the sweep asks squeue and needs none, but "
                "Hydra's own launcher would wait for ever for a job that is killed"
            )
        if (waiting := cluster.queue()) is None:
            why = "jobs of an earlier launch cannot be told from none: try again"
            raise cluster.ClusterError(f"squeue does not answer, so {why}")
        known = cluster.unended(states.read_grid(self.runs)["jobs"], waiting)
        jobs = {name: known[name] for name in self.cells if name in known}
        of_gpus = self.options.get("gpus_per_node") or self.options.get("gres")
        asked, times = self.launch.exclusive, self.task.application.times
        groups: dict[bool, list[str]] = {False: [], True: []}
        for name in (name for name in self.cells if name not in jobs):
            timed = not of_gpus and times(self.cells[name].config)
            groups[timed if asked is None else asked].append(name)
        for exclusive, names in groups.items():
            jobs |= self._submit(names, exclusive) if names else {}
        return jobs

    def _submit(self, names: list[str], exclusive: bool) -> dict[str, str]:
        """Submit and record arrays of the largest size that the cluster takes."""
        jobs: dict[str, str] = {}
        where = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
        with submitit.helpers.clean_env():  # from inside a job it takes over no resources
            os.environ.update(where)
            executor = self._executor("slurm", **({"slurm_exclusive": True} if exclusive else {}))
            size = cluster.largest_array() - 1
            for part in (names[i : i + size] for i in range(0, len(names), size)):
                arguments = [self.cells[name].arguments for name in part]
                try:
                    array = executor.map_array(self.call, *zip(*arguments, strict=True))
                except (FailedJobError, FailedSubmissionError) as error:
                    raise cluster.refusal(error) from error
                submitted = {name: job.job_id for name, job in zip(part, array, strict=True)}
                states.record_jobs(self.runs, submitted)  # at once: the next may be refused
                jobs |= submitted
        return jobs

    def _executor(self, kind: str, **more: bool) -> submitit.AutoExecutor:
        """Submitit's own, with the options under its names."""
        options = self.options.items()
        given = {name if name in SHARED else f"{kind}_{name}": value for name, value in options}
        first = {name: given.pop(name) for name in ("slurm_max_num_timeout",) if name in given}
        executor = submitit.AutoExecutor(given.pop("submitit_folder"), cluster=kind, **first)
        executor.update_parameters(**given, **more)
        return executor


def watch(table: str, runs: Path, jobs: Mapping[str, str]) -> dict[str, str]:
    """Wait until every job is over; what squeue said of each last.

    squeue lists jobs that ended for minutes, but not for ever; one that is requeued may look
    ended for a moment, so that a cell without a row counts as over when it looked so twice.
    A job that SLURM holds because its launch failed is released, `RELEASES` times at most.
    """
    left, last, told = dict(jobs), dict.fromkeys(jobs, ""), ""
    start, suspects, held = time.monotonic(), set[str](), Counter[str]()
    while left:
        found = cluster.queue()
        text = "squeue does not answer; asking again"
        if found is not None:
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
        if left:
            if text != told:
                print(f"{table}: {text}", flush=True)
            told = text
            time.sleep(min(30.0, max(1.0, 0.02 * (time.monotonic() - start))))
    return last


def _release(table: str, job: str, seen: int) -> None:
    if seen <= RELEASES:
        refused = cluster.release(job)
        became = f"not released, {refused}" if refused else "released"
        print(f"{table}: SLURM held job {job}, whose launch failed: {became}", flush=True)
    elif seen == RELEASES + 1:
        cure = f"`scontrol release {job}` tries once more, `scancel {job}` gives it up"
        said = f"SLURM still holds job {job} after {RELEASES} releases"
        print(f"{table}: {said}: {cure}", flush=True)


def silence(logs: str, runs: Path, jobs: Mapping[str, str], last: Mapping[str, str]) -> str:
    """What is to be said of jobs that ran and left neither an attempt nor a log; "" of none."""
    silent = [
        f"SLURM job {job} ({last[cell] or 'gone'})"
        for cell, job in jobs.items()
        if not last[cell].startswith("CANCELLED")
        and not states.attempts(runs / cell)
        and not any(Path(logs.replace("%j", job)).glob("*_log.*"))
    ]
    others = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
    cure = "the nodes do not see this folder; choose one that they share, with runs=..."
    where = f"left neither row nor log in {runs.absolute()}: {cure}"
    return f"{silent[0]}{others} {where}" if silent else ""
