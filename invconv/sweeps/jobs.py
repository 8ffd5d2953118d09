"""Cells as jobs through submitit: on SLURM, or a few at a time on this machine."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from submitit.core.utils import FailedJobError, FailedSubmissionError

from invconv.rows import Status
from invconv.sweeps import cluster, states
from invconv.sweeps.application import Cell, SweepError, Task, one_sentence
from invconv.sweeps.config import Launch
from invconv.sweeps.watch import silence, watch

Options = Mapping[str, Any]  # what `hydra.launcher` is configured to
SHARED = tuple(BaseQueueConf.__dataclass_fields__)


def unfinished(cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """The cells that a launch has to start."""
    return {
        name: cell
        for name, cell in cells.items()
        if states.forced(cell.config, cell.folder) or states.row_status(cell.folder) != Status.OK
    }


def checkpoints(folder: Path) -> list[int]:
    """When the checkpoint in a cell's folder was written, if there is one."""
    return [path.stat().st_mtime_ns for path in folder.glob("last.pt")]


def check_progress(folder: Path, started: float, found: list[int], options: Options) -> None:
    """Raises TimeoutError if a job used up its time without a checkpoint: it would never end.

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
        """Runs each in a process of its own, ``launch.side_by_side`` at a time.

        Raises SweepError if something would be timed while something else computes.
        """
        table, launch = self.task.application, self.launch
        timed = sum(table.times(cell.config) for cell in self.cells.values())
        if launch.detach:
            raise SweepError(f"{table.name}: launch.detach=true needs a cluster: launch=slurm")
        if timed and launch.side_by_side > 1:
            raise SweepError(
                f"{table.name}: {timed} cells would be timed while others compute: "
                "launch=basic, or launch.side_by_side=1, or do not time (timing.repeats=0)"
            )
        executor = self._executor("local")
        waiting, running = list(self.cells.values()), list[submitit.Job[object]]()
        while waiting or running:
            running = [job for job in running if not job.done()]
            while waiting and len(running) < launch.side_by_side:
                running.append(executor.submit(self.call, *waiting.pop(0).arguments))
            time.sleep(0.2)

    def run_on_slurm(self) -> None:
        """Submits them, and waits until their jobs are over unless ``launch.detach``.

        Jobs of an earlier launch that still wait or run are waited for, not submitted again.
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
        """Submits and records arrays of the largest size that the cluster takes."""
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
