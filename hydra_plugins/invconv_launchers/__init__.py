"""Hydra launchers: in this process, in a few local processes, on SLURM, and one that only lists.

Hydra looks for them in the namespace package ``hydra_plugins``, in every Hydra application of the
environment: so nothing heavy is imported before one of them launches.
"""

import os
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_submitit_launcher import submitit_launcher
from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf
from omegaconf import DictConfig, open_dict

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

    from invconv.sweeps.jobs import Jobs
    from invconv.sweeps.launching import Cell


class _Cells(Launcher):
    """What the launchers share: all cells of a sweep are composed and noted before one starts."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra's own call, before anything is launched; refuses a folder that will not do."""
        from invconv.sweeps import launching

        self.hydra_context, self.task_function = hydra_context, task_function
        self.config = config
        if self.records:
            launching.check_folder(self.task_function, config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Composes the cells and starts them; their rows tell what became of them."""
        from invconv.sweeps import launching

        setup_globals()
        composed = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.hydra_context.config_loader.load_sweep_config(
                self.config, list(overrides)
            )
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            composed.append((number, list(overrides), config))
        self.start(launching.note(self.task_function, composed, self.records))
        return []

    records = True
    """Whether the wanted cells are written down in the sweep's folder."""

    @abstractmethod
    def start(self, cells: "Mapping[str, Cell]") -> None:
        """Starts the cells, by name."""


class BasicLauncher(_Cells):
    """Runs every cell in this process, one after the other: the only right place to time."""

    def start(self, cells: "Mapping[str, Cell]") -> None:
        """Runs them."""
        for cell in cells.values():
            result = run_job(
                hydra_context=self.hydra_context,
                task_function=self.task_function,
                config=cell.composed,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            result.return_value  # noqa: B018 - raises what the task raised


class ListLauncher(_Cells):
    """Starts nothing, and prints every cell with its state."""

    records = False

    def start(self, cells: "Mapping[str, Cell]") -> None:
        """Prints them."""
        from invconv.sweeps import launching

        launching.list_only(self.task_function, cells)


class _Submitted(_Cells, submitit_launcher.BaseSubmititLauncher):
    """Cells as jobs through submitit; a job runs this object, as the plugin's launchers do."""

    def __call__(
        self,
        sweep_overrides: list[str],
        job_dir_key: str,
        job_num: int,
        job_id: str,
        singleton_state: dict[type, Singleton],
    ) -> JobReturn:
        """Runs one cell, in its job, with the job's cores."""
        import torch

        from invconv.sweeps import jobs

        if "SLURM_CPUS_PER_TASK" in os.environ and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(int(os.environ["SLURM_CPUS_PER_TASK"]))
        self.folder = self.folders[job_num]
        self.began = time.time(), jobs.checkpoints(self.folder)
        result = super().__call__(sweep_overrides, job_dir_key, job_num, job_id, singleton_state)
        result.return_value  # noqa: B018 - raises what the task raised
        return result

    def checkpoint(self, *arguments: object) -> "DelayedSubmission":
        """The same again when the job's time is up: a cell resumes from its checkpoint."""
        from submitit.helpers import DelayedSubmission

        from invconv.sweeps import jobs

        jobs.check_progress(self.folder, *self.began, self.params)
        return DelayedSubmission(self, *arguments)

    def jobs(self, cells: "Mapping[str, Cell]") -> "Jobs":
        """Those of the cells that are not done."""
        from invconv.sweeps import jobs

        self.folders = {cell.number: cell.folder for cell in cells.values()}
        config = next(iter(cells.values())).config
        wanted, runs = jobs.unfinished(cells), Path(config.runs)
        task = self.task_function
        return jobs.Jobs(self, task, self.params, wanted, config.launch, runs)


class LocalLauncher(_Submitted):
    """A few cells side by side, each a process of its own, where nothing is timed."""

    _EXECUTOR = "local"

    def start(self, cells: "Mapping[str, Cell]") -> None:
        """Starts them, ``launch.side_by_side`` at a time, and waits."""
        self.jobs(cells).run_locally()


class SlurmLauncher(_Submitted):
    """Every cell a task of a job array."""

    _EXECUTOR = "slurm"

    def start(self, cells: "Mapping[str, Cell]") -> None:
        """Submits them and waits, unless ``launch.detach``."""
        self.jobs(cells).run_on_slurm()


@dataclass
class _Basic:
    _target_: str = f"{__name__}.BasicLauncher"


@dataclass
class _List:
    _target_: str = f"{__name__}.ListLauncher"


@dataclass
class _Local(LocalQueueConf):
    _target_: str = f"{__name__}.LocalLauncher"


@dataclass
class _Slurm(SlurmQueueConf):
    _target_: str = f"{__name__}.SlurmLauncher"


for _name, _node in {"basic": _Basic, "list": _List, "local": _Local, "slurm": _Slurm}.items():
    ConfigStore.instance().store(
        group="hydra/launcher", name=f"invconv_{_name}", node=_node, provider="invconv"
    )
