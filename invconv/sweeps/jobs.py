"""Cells as jobs of their own, through submitit: on SLURM, or a few at a time on this machine."""

import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import submitit
import torch
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from omegaconf import DictConfig, OmegaConf
from submitit.core.utils import FailedJobError, FailedSubmissionError

from invconv.sweeps import cluster, states
from invconv.sweeps.cluster import ClusterError
from invconv.sweeps.watch import silence, watch

SHARED = tuple(BaseQueueConf.__dataclass_fields__)


class CellJob:
    """What a job runs: one cell; submitit calls `checkpoint` when the job's time is nearly up.

    Args:
        main: decorated with `hydra.main`.
        limit_s, delay_s: the job's time limit, and how long before it the signal is sent.
    """

    def __init__(self, main: Callable[..., None], limit_s: float, delay_s: float) -> None:
        self.main, self.limit_s, self.delay_s = main, limit_s, delay_s

    def __call__(self, config: DictConfig, folder: str) -> None:
        """Runs the cell; ``folder`` is its own."""
        self.started, self.found = time.time(), _checkpoints(folder)
        if "SLURM_CPUS_PER_TASK" in os.environ and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(int(os.environ["SLURM_CPUS_PER_TASK"]))
        self.main(config)

    def checkpoint(self, config: DictConfig, folder: str) -> submitit.helpers.DelayedSubmission:
        """The same again: a cell goes on from the checkpoint in its folder.

        Raises:
            TimeoutError: if it used up its time without writing one, since it would never end.
        """
        early = self.limit_s - self.delay_s - cluster.STARTING_S
        if time.time() - self.started > early and _checkpoints(folder) == self.found:
            raise TimeoutError(
                f"the job's limit of {self.limit_s / 60:.0f} minutes came before a checkpoint: "
                "raise hydra.launcher.timeout_min"
            )
        return submitit.helpers.DelayedSubmission(self, config, folder)


def submits(config: DictConfig) -> bool:
    """Whether the sweep of this configuration goes through submitit."""
    return "submitit" in config.hydra.launcher._target_


def run(
    table: str,
    main: Callable[..., None],
    config: DictConfig,
    cells: Mapping[str, DictConfig],
    timed: Collection[str],
) -> bool:
    """Submits ``cells`` and waits until their jobs are over.

    Jobs of an earlier launch that still wait or run are waited for, too, not submitted again.

    Args:
        table: names the jobs.
        main: decorated with `hydra.main`; called with a cell's configuration, in its job.
        config: the sweep's.
        cells: the configuration of each cell that is to be started, by name.
        timed: those that time something.

    Returns:
        Whether the jobs were left to themselves, `launch.detach`.

    Raises:
        ClusterError: if the cluster, or this machine, cannot take them, or does not say which
            of them an earlier launch has left.
        RowsError: if the record of that launch cannot be read.
    """
    options: dict[str, Any] = OmegaConf.to_container(config.hydra.launcher, resolve=True)  # type: ignore[assignment]
    runs, launch = Path(config.runs), config.launch
    if options.pop("_target_").endswith("LocalLauncher"):
        _check_local(launch, timed)
        _run_locally(main, options, runs, cells, launch.side_by_side)
        return False
    if not cells:
        return False
    cluster.check(runs, options)
    reason = cluster.accounting()
    if reason:
        print(
            f"sacct does not work here ({reason}): the sweep asks squeue and needs none, but "
            "Hydra's own launcher would wait for ever for a job that is killed"
        )
    waiting = cluster.queue()
    if waiting is None:
        raise ClusterError(
            "squeue does not answer, so jobs of an earlier launch cannot be told from none: try "
            "again"
        )
    known = states.read_grid(runs)["jobs"]
    jobs = {
        cell: known[cell]
        for cell in cells
        if cell in known and not cluster.ended(waiting.get(known[cell], "COMPLETED"))
    }
    fresh = [cell for cell in cells if cell not in jobs]
    exclusive = timed if launch.exclusive is None else list(cells) if launch.exclusive else ()
    if launch.exclusive is None and (options.get("gpus_per_node") or options.get("gres")):
        exclusive = ()  # a GPU is nobody else's while its job runs
    for alone in (False, True):
        group = [cell for cell in fresh if (cell in exclusive) == alone]
        jobs |= _submit(main, options, runs, {cell: cells[cell] for cell in group}, alone)
    numbers = sorted({job.partition("_")[0] for job in jobs.values()}, key=int)
    print(f"{len(fresh)} cells submitted, {len(jobs) - len(fresh)} were; jobs {' '.join(numbers)}")
    if launch.detach:
        print(f"see: python -m invconv list {runs}; stop: scancel {' '.join(numbers)}")
        print(f"the table, at any time: python -m invconv collect {runs}")
        return True
    try:
        last = watch(table, runs, jobs)
    except KeyboardInterrupt:
        print(f"\nthe jobs go on; the same command waits again; stop: scancel {' '.join(numbers)}")
        raise
    unseen = silence(options["submitit_folder"], runs, jobs, last)
    if unseen:
        print(f"{table}: {unseen}", file=sys.stderr)
    return False


def _checkpoints(folder: str) -> list[int]:
    return [path.stat().st_mtime_ns for path in Path(folder).glob("last.pt")]


def _submit(
    main: Callable[..., None],
    options: Mapping[str, Any],
    runs: Path,
    cells: Mapping[str, DictConfig],
    exclusive: bool,
) -> dict[str, str]:
    """Submits and records arrays of the largest size that the cluster takes; each cell's job."""
    if not cells:
        return {}
    parameters = {
        name if name in SHARED else f"slurm_{name}": value
        for name, value in options.items()
        if name not in ("submitit_folder", "max_num_timeout")
    }
    if exclusive:
        parameters["slurm_exclusive"] = True
    job = CellJob(main, 60 * options["timeout_min"], options["signal_delay_s"])
    jobs: dict[str, str] = {}
    with _outside_of_any_job():
        executor = submitit.AutoExecutor(
            options["submitit_folder"],
            cluster="slurm",
            slurm_max_num_timeout=options["max_num_timeout"],
        )
        executor.update_parameters(**parameters)
        size, every = cluster.largest_array() - 1, list(cells)
        for names in (every[i : i + size] for i in range(0, len(every), size)):
            folders = [str(runs / name) for name in names]
            try:
                array = executor.map_array(job, [cells[name] for name in names], folders)
            except (FailedJobError, FailedSubmissionError) as error:
                raise cluster.refusal(error) from error
            submitted = {name: task.job_id for name, task in zip(names, array, strict=True)}
            states.record_jobs(runs, submitted)  # at once: the next array may be refused
            jobs |= submitted
    return jobs


@contextmanager
def _outside_of_any_job() -> Iterator[None]:
    """A job that is submitted from inside a job shall not take over its resources."""
    where = os.environ.get("SLURM_CONF")
    with submitit.helpers.clean_env():
        if where:
            os.environ["SLURM_CONF"] = where
        yield


def _check_local(launch: DictConfig, timed: Collection[str]) -> None:
    if launch.detach:
        raise ClusterError("launch.detach=true needs a cluster to wait: launch=slurm")
    if timed and launch.side_by_side > 1:
        raise ClusterError(
            f"{len(timed)} cells would be timed while others compute: launch=basic, or "
            "launch.side_by_side=1, or do not time (timing.repeats=0)"
        )


def _run_locally(
    main: Callable[..., None],
    options: Mapping[str, Any],
    runs: Path,
    cells: Mapping[str, DictConfig],
    side_by_side: int,
) -> None:
    executor = submitit.AutoExecutor(options["submitit_folder"], cluster="local")
    executor.update_parameters(
        **{name: value for name, value in options.items() if name != "submitit_folder"}
    )
    job = CellJob(main, 60 * options["timeout_min"], 30)
    waiting = list(cells.items())
    running: list[submitit.Job[None]] = []
    while waiting or running:
        running = [task for task in running if not task.done()]
        while waiting and len(running) < side_by_side:
            cell, config = waiting.pop(0)
            running.append(executor.submit(job, config, str(runs / cell)))
        time.sleep(0.2)
