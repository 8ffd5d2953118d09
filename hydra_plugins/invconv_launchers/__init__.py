"""Hydra launchers: in this process, in a few local processes, on SLURM, and one that only lists.

Hydra looks for them in the namespace package ``hydra_plugins``, in every Hydra application of the
environment: so nothing heavy is imported before one of them launches.
"""

import os
import signal
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
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

    from invconv.sweeps.cells import Cell


class _Cells(Launcher):
    """What the launchers share: all cells of a sweep are composed and noted before one starts."""

    records = True
    """Whether the wanted cells are written down in the sweep's folder."""
    jobs = False
    """Whether they become jobs of submitit."""
    here = True
    """Whether they run on this machine, which has to see their data."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra's own call, before anything is launched; refuses a folder that will not do."""
        from invconv.sweeps.application import Task

        if not isinstance(task_function, Task):
            raise TypeError(f"{type(self).__name__} launches the tables of invconv alone")
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        if self.records:
            task_function.check(config, self.jobs)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Composes the cells and starts them; their rows tell what became of them."""
        from invconv.terminal import terminal

        setup_globals()
        composed, loader = [], self.hydra_context.config_loader
        shared = self.task_function.application.shared(job_overrides)
        # a cell's files are in its own folder wherever it runs, and the paths are relative
        fixed = [*shared, "hydra.job.chdir=false"]
        every = ([*overrides, *fixed] for overrides in job_overrides)
        for number, overrides in enumerate(every, initial_job_idx):
            config = loader.load_sweep_config(self.config, overrides)
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            composed.append((number, overrides, config))
        with terminal():  # otherwise Hydra explains a reader that has gone with a traceback
            self.start(self.task_function.note(composed, self.records, self.here))
        return []

    @abstractmethod
    def start(self, cells: "Mapping[str, Cell]") -> None:
        """Start the cells, by name."""


class BasicLauncher(_Cells):
    """Runs every cell in this process, one after the other: the only right place to time."""

    def start(self, cells: "Mapping[str, Cell]") -> None:
        """Run them."""
        self.task_function.warn_if_busy()
        self.task_function.foresee()
        for cell in cells.values():
            where = ("hydra.sweep.dir", "hydra.sweep.subdir")
            result = run_job(self.task_function, cell.composed, *where, self.hydra_context)
            result.return_value  # noqa: B018 - raises what the task raised


class ListLauncher(_Cells):
    """Starts nothing, and prints every cell with its state."""

    records = here = False

    def __init__(self, **_: object) -> None:
        """Take SLURM's options, too: a command line can be listed as it is."""

    def start(self, cells: "Mapping[str, Cell]") -> None:
        """Print them."""
        from invconv.sweeps import states

        task, runs = self.task_function, next(iter(cells.values())).folder.parent
        task.detached, task.code = True, states.print_states(runs, list(cells))


class _Submitted(_Cells, submitit_launcher.BaseSubmititLauncher):
    """Cells as jobs through submitit; a job runs this object, as the plugin's launchers do."""

    jobs = True

    def __call__(
        self, overrides: list[str], key: str, number: int, job: str, state: dict[type, Singleton]
    ) -> JobReturn:
        """Run one cell, in its job, with the job's cores."""
        import torch

        from invconv.sweeps import jobs
        from invconv.terminal import terminal

        if "SLURM_CPUS_PER_TASK" in os.environ and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(int(os.environ["SLURM_CPUS_PER_TASK"]))
        self.folder = self.folders[number]
        self.began = time.time(), jobs.checkpoints(self.folder)
        with terminal():
            result = super().__call__(overrides, key, number, job, state)
            result.return_value  # noqa: B018 - raises what the task raised
        return result

    def checkpoint(self, *arguments: object) -> "DelayedSubmission":
        """The same again when the job's time is up: a cell resumes from its checkpoint."""
        from submitit.helpers import DelayedSubmission

        from invconv.sweeps import jobs

        jobs.check_progress(self.folder, *self.began, self.params)
        return DelayedSubmission(self, *arguments)

    def start(self, cells: "Mapping[str, Cell]") -> None:
        """Start those that are not done and wait, unless ``launch.detach``."""
        from invconv.sweeps import jobs

        self.folders = {cell.number: cell.folder for cell in cells.values()}
        first = next(iter(cells.values()))
        wanted = jobs.unfinished(self.task_function.application.name, cells)
        launch, runs = first.config.launch, first.folder.parent
        made = jobs.Jobs(self, self.task_function, self.params, wanted, launch, runs)
        if self._EXECUTOR == "slurm":
            made.run_on_slurm()
        else:
            made.run_locally()


class LocalLauncher(_Submitted):
    """A few cells side by side, each a process of its own; what is timed is alone."""

    _EXECUTOR = "local"

    def __call__(
        self, overrides: list[str], key: str, number: int, job: str, state: dict[type, Singleton]
    ) -> JobReturn:
        """Runs one cell; SIGTERM ends it, which submitit's own handler ignores."""
        from invconv.sweeps.ending import stopped_by_signals

        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with stopped_by_signals():
            return super().__call__(overrides, key, number, job, state)


class SlurmLauncher(_Submitted):
    """Every cell a task of a job array."""

    here = False
    _EXECUTOR = "slurm"


_OPTIONS = {
    "Basic": dict,
    "List": SlurmQueueConf,
    "Local": LocalQueueConf,
    "Slurm": SlurmQueueConf,
}
for _kind, _of in _OPTIONS.items():
    _place = {"group": "hydra/launcher", "name": f"invconv_{_kind.lower()}", "provider": "invconv"}
    ConfigStore.instance().store(node=_of(_target_=f"{__name__}.{_kind}Launcher"), **_place)
