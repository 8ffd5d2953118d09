"""The cells of a sweep, before one of them starts: composed, named, noted and listed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra.core.singleton import Singleton
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from invconv.rows import RowsError
from invconv.sweeps import cluster, states
from invconv.sweeps.application import SweepError, Task
from invconv.sweeps.config import Sweep
from invconv.sweeps.locks import check_locks
from invconv.training.distributed import world


@dataclass(frozen=True)
class Cell:
    """One configuration of a sweep.

    Attributes:
        name: the cell's.
        number: its place in the sweep.
        overrides: by which Hydra composes it.
        composed: what Hydra composed, its own settings included.
        config: the table's own part, typed.
    """

    name: str
    number: int
    overrides: list[str]
    composed: DictConfig
    config: Sweep

    @property
    def folder(self) -> Path:
        """The cell's own."""
        return Path(self.config.runs) / self.name

    @property
    def arguments(self) -> tuple[list[str], str, int, str, dict[type, Singleton]]:
        """What its job calls the launcher with, as hydra-submitit-launcher has it."""
        job = f"cell_{self.number}"
        return self.overrides, "hydra.sweep.dir", self.number, job, Singleton.get_state()


@contextmanager
def one_sentence(table: str) -> Iterator[None]:
    """What goes wrong before the first cell, as Hydra prints it."""
    expected = (RowsError, OSError, ValueError, TypeError, OmegaConfBaseException)
    try:
        yield
    except (*expected, cluster.ClusterError) as error:
        raise SweepError(f"{table}: {' '.join(str(error).split())}") from error


def check_folder(task: Task, config: DictConfig) -> None:
    """Raises SweepError if the sweep's folder cannot be written, or has no locks."""
    with one_sentence(task.application.name):
        cluster.check_writable(Path(config.runs))
        check_locks(Path(config.runs))


def note(
    task: Task, composed: Sequence[tuple[int, list[str], DictConfig]], records: bool
) -> dict[str, Cell]:
    """The wanted cells by name; with ``records`` also noted in the sweep's folder.

    Raises:
        SweepError: if one has no name, or a setting no value.
    """
    table, cells = task.application, {}
    with one_sentence(table.name):
        for number, overrides, config in composed:
            typed = table.typed(config)
            name = table.cell_of(typed)
            cells[name] = Cell(name, number, overrides, config, typed)
        if records and not world().rank:
            runs = Path(next(iter(cells.values())).config.runs)
            states.record(table.name, runs, list(cells))
        task.cells |= {name: cell.config for name, cell in cells.items()}
    return cells


def list_only(task: Task, cells: Mapping[str, Cell]) -> None:
    """Prints every cell with its state."""
    task.detached = True
    runs = Path(next(iter(cells.values())).config.runs)
    task.code = states.print_states(runs, list(cells))
