"""A table as a Hydra application: from the command line to its cells, their rows and its page."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from operator import attrgetter
from pathlib import Path
from typing import Any, NoReturn

import hydra
import pandas as pd
import torch
from hydra.core.singleton import Singleton
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from invconv.rows import RowsError, Status, Values, cell_id, collect
from invconv.rows.provenance import ROOT, revision
from invconv.sweeps import cluster, states
from invconv.sweeps.cells import run_cell
from invconv.sweeps.config import Preset, Sweep, identity
from invconv.sweeps.locks import Held, LocksRefused, check_locks
from invconv.training.distributed import local_device, process_group, world

CONF = ROOT / "reproductions" / "conf"


class SweepError(CompactHydraException):
    """A sweep that cannot be started; Hydra prints the message, one sentence, and exits with 1."""


@dataclass(frozen=True, kw_only=True)
class Application:
    """What is measured, and how: one cell for each configuration that Hydra composes."""

    name: str
    config: type[Sweep] | None = None
    """None for rows that no sweep makes."""
    measure: Callable[[Any, torch.device, Path], Values] | None = None
    """Makes a row's values; the folder is the cell's own, for checkpoints."""
    cell: str = ""
    """The readable part of a cell's name, a format of the configuration's fields."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """By which a reader finds a row: its columns, and where the configuration has them."""
    presets: Mapping[str, Preset] = field(default_factory=dict)
    """With "tiny", whose rows stay out of results/, and "default" among them."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """The options that Hydra's groups have where nothing else is said."""
    groups: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Options of groups that only this table has."""
    times: Callable[[Any], bool] = lambda _: True
    """Whether a cell times something, so that it should be alone."""
    headline: str = ""
    """The columns of an ok row that the terminal shows; * stands for any characters."""
    after: Callable[[Any], None] = lambda _: None
    """Is given the configuration of each cell that was measured."""

    def main(self) -> NoReturn:
        """What a script does: `run`, and exit with its code."""
        sys.exit(run(self))

    def summary(self, values: Values) -> str:
        """The values of an ok row in a few words."""
        patterns = self.headline.split()
        shown = [name for name in values if any(fnmatchcase(name, p) for p in patterns)]
        forms = [f"{v:.4g}" if isinstance(v := values[name], float) else str(v) for name in shown]
        return ", ".join(map(" ".join, zip(shown, forms, strict=True))) or "ok"

    def write_page(self, rows: pd.DataFrame, results: Path) -> object:
        """Writes the page of all rows into ``results``."""
        raise NotImplementedError

    def typed(self, composed: DictConfig) -> Sweep:
        """What Hydra composed, as a `config`; raises SweepError if a value is missing."""
        own = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        merged = OmegaConf.merge(OmegaConf.structured(self.config), own)
        if missing := sorted(OmegaConf.missing_keys(merged)):
            raise SweepError(
                f"{self.name}: there is no value for {', '.join(missing)}: choose a preset and "
                "data set that go together, or set these"
            )
        found = OmegaConf.to_object(merged)
        assert isinstance(found, Sweep)
        return found

    def cell_of(self, config: Sweep) -> str:
        """The name of the configuration's cell; CellError if it cannot be that of a folder."""
        return cell_id(self.cell.format(**vars(config)), identity(config))


@dataclass(frozen=True)
class Cell:
    """One configuration of a sweep: what Hydra composed, and of that the table's part, typed."""

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
    try:
        yield
    except (cluster.ClusterError, OSError, ValueError, TypeError, OmegaConfBaseException) as error:
        cause = None if isinstance(error, OmegaConfBaseException) else error  # Hydra prints such
        raise SweepError(f"{table}: {' '.join(str(error).split())}") from cause


class Task:
    """What Hydra calls with each composed configuration, and what it was to run."""

    def __init__(self, application: Application) -> None:
        self.application, self.code = application, 0
        self.cells = dict[str, Cell]()  # the wanted ones by name, once a launcher has them
        self.detached = False  # whether they were left to themselves, or only listed

    def check_folder(self, runs: Path) -> None:
        """Raises SweepError if the sweep's folder cannot be written, or has no locks."""
        with one_sentence(self.application.name):
            cluster.check_writable(runs)
            check_locks(runs)

    def note(
        self, composed: Sequence[tuple[int, list[str], DictConfig]], records: bool
    ) -> dict[str, Cell]:
        """The wanted cells by name; with ``records`` also noted in the sweep's folder."""
        table, cells = self.application, {}
        with one_sentence(table.name):
            for number, overrides, config in composed:
                typed = table.typed(config)
                name = table.cell_of(typed)
                cells[name] = Cell(name, number, overrides, config, typed)
            if records and not world().rank:
                states.record(table.name, Path(typed.runs), list(cells))
        self.cells |= cells
        return cells

    def __call__(self, composed: DictConfig) -> None:
        """Runs one cell; of several processes that torchrun started, all together."""
        config = self.application.typed(composed)
        device = local_device(pick_device(config.device))
        measure = self.application.measure
        assert measure is not None
        with process_group(device) as processes:

            def together(folder: Path) -> Values:
                processes.broadcast(str(folder))
                return measure(config, device, folder)

            if processes.rank:
                if folder := processes.broadcast(""):
                    measure(config, device, Path(folder))
            elif self._run(config, device, together):
                self.application.after(config)
            else:
                processes.broadcast("")

    def _run(self, config: Sweep, device: torch.device, measure: Callable[[Path], Values]) -> bool:
        """Whether the cell was measured now."""
        table, cell = self.application, self.application.cell_of(config)
        folder = Path(config.runs) / cell
        labels = {name: attrgetter(place)(config) for name, place in table.labels.items()}
        what, force = (cell, table.name, labels, identity(config)), states.forced(config, folder)
        try:
            row, measured = run_cell(*what, folder, device, measure, force)
        except Held as held:
            print(f"{cell}: left to {held}")
            return False
        except (RowsError, LocksRefused) as error:
            print(f"{cell}: {error}", file=sys.stderr)
            return False
        fine = row.status == Status.OK
        text = table.summary(row.values) if fine else f"{row.status}: {row.reason}"
        if not measured:
            made, now = row.provenance["commit"], revision()[0]
            by = f" by commit {made} (now {now}; force_changed=true)" if made != now else ""
            text = f"skipped, done before{by}: {text}"
        print(f"{cell}: {text}", flush=True)
        return measured

    def finish(self) -> int:
        """Waits for cells of other sweeps, collects, says what is not ok; 0 if every cell is."""
        table, first = self.application, next(iter(self.cells.values()))
        runs, results = first.folder.parent, Path(first.config.results)
        with suppress(KeyboardInterrupt):
            states.wait_for_others(runs, list(self.cells))
        try:
            found = {cell: states.state(runs, cell) for cell in self.cells}
            data = results / "data" / f"{table.name}.csv"
            collect(runs, data, table.name, table.write_page)
        except RowsError as error:
            print(f"{table.name}: nothing was collected: {error}", file=sys.stderr)
            return 1
        bad = {cell: state for cell, state in found.items() if state.status != Status.OK}
        page = results / f"{table.name}.md"
        print(f"{len(found) - len(bad)} of {len(found)} cells ok; the table is in {page}")
        for cell, state in bad.items():
            print(f"  {cell}: {state}", file=sys.stderr)
        return 1 if bad else 0


def run(application: Application) -> int:
    """Lets Hydra read the command line and launch the cells, and ends the sweep.

    Returns the exit code: 0 if every wanted cell is "ok", and where no sweep was started
    (``--help``, ``--cfg job``); 130 after Ctrl-C. What Hydra refuses ends the process itself.
    """
    from invconv.sweeps.groups import register

    register(application)
    task = Task(application)
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=application.name)(task)()
    except KeyboardInterrupt:
        task.code = 130
    if not task.cells or task.detached or world().rank:  # processes of one cell finish as one
        return task.code
    return max(task.code, task.finish())


def pick_device(name: str) -> torch.device:
    """The named device, "auto" being the GPU if there is one; TF32 is switched off."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
