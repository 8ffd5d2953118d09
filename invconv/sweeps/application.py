"""A table as a Hydra application: from the command line to its cells, their rows and its page."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from operator import attrgetter
from pathlib import Path
from signal import SIGINT
from typing import Any, NoReturn

import hydra
import pandas as pd
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from invconv.bench.quiet import busy_machine
from invconv.files import user_path
from invconv.rows import Block, Row, RowsError, Status, Value, Values, cell_id
from invconv.rows.provenance import ROOT, revision
from invconv.rows.status import NotBegun
from invconv.sweeps import checks, cluster, states
from invconv.sweeps.cells import Cell, run_cell
from invconv.sweeps.config import Preset, Sweep, identity
from invconv.sweeps.ending import Stopped, finish, stopped_by_signals
from invconv.sweeps.locks import Held, LocksRefused
from invconv.sweeps.overrides import check_choices
from invconv.sweeps.progress import Forecast, duration
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
    measure: Callable[[Any, torch.device, Path], Values | Block] | None = None
    """Makes a row's values, or a block's; the folder is the cell's own, for checkpoints."""
    cell: str = ""
    """The readable part of a cell's name, a format of the configuration's fields."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """By which a reader finds a row: its columns, and where the configuration has them."""
    parts: str = ""
    """The label that the parts of a cell have, where a cell is a block of several."""
    presets: Mapping[str, Preset] = field(default_factory=dict)
    """With "tiny", whose rows stay out of results/, and "default" among them."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """The options that Hydra's groups have where nothing else is said."""
    groups: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Groups that only this table has: options, and what each sets."""
    times: Callable[[Any], bool] = lambda _: True
    """Whether a cell times something, so that it should be alone."""
    shared: Callable[[Sequence[Sequence[str]]], list[str]] = lambda _: []
    """What each cell is told of the whole sweep: overrides, from those of all cells."""
    headline: str = ""
    """The columns of an ok row that the terminal shows; * stands for any characters."""
    brief: Callable[[pd.DataFrame], object] = lambda _: ""
    """What the terminal shows of a sweep's rows at its end."""
    after: Callable[[Any], None] = lambda _: None
    """Is given the configuration of each cell that was measured."""

    def main(self) -> NoReturn:
        """What a script does: `run`, and exit with its code."""
        sys.exit(run(self))

    def told(self, row: Row) -> str:
        """Return what became of a cell in a few words."""
        if row.status != Status.OK:
            return f"{row.status}: {row.reason}"
        values, patterns = row.values, self.headline.split()
        shown = [name for name in values if any(fnmatchcase(name, p) for p in patterns)]
        forms = [f"{v:.4g}" if isinstance(v := values[name], float) else str(v) for name in shown]
        words = map(" ".join, zip(shown, forms, strict=True))
        return ", ".join(row.parts or words) or "ok"

    def write_page(self, rows: pd.DataFrame, results: Path) -> object:
        """Write the page of all rows into ``results``."""
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
        found.runs, found.results = (str(user_path(path)) for path in (found.runs, found.results))
        return found

    def cell_of(self, config: Sweep) -> str:
        """The name of the configuration's cell; CellError if it cannot be that of a folder."""
        return cell_id(self.cell.format(**vars(config)), identity(config))


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
        self.forecast: Forecast | None = None  # where this process sees every cell end

    def check(self, config: DictConfig, jobs: bool) -> None:
        """Raise SweepError for what no cell could be measured with, see `checks.check_start`."""
        with one_sentence(self.application.name):
            checks.check_start(self.application.name, config.runs, config.results, jobs)

    def warn_if_busy(self) -> None:
        """Says on stderr that others compute, if a cell is going to be timed."""
        timed = [cell for cell in self.cells.values() if self.application.times(cell.config)]
        if timed and (words := busy_machine()):
            print(f"{self.application.name}: {words}", file=sys.stderr)

    def note(
        self, composed: Sequence[tuple[int, list[str], DictConfig]], records: bool, here: bool
    ) -> dict[str, Cell]:
        """The wanted cells by name, see `checks.check_cells`; ``records`` notes them in a file."""
        table, cells = self.application, dict[str, Cell]()
        with one_sentence(table.name):
            every = [table.typed(config) for *_, config in composed]
            checks.check_cells(every, table.labels, here)
            for (number, overrides, config), typed in zip(composed, every, strict=True):
                name = table.cell_of(typed)
                cells[name] = Cell(name, number, overrides, config, typed)
            if records and not world().rank:
                states.record(table.name, Path(typed.runs), list(cells))
        self.cells |= cells
        return cells

    def __call__(self, composed: DictConfig) -> None:
        """Run one cell; of several processes that torchrun started, all together."""
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            raise SweepError(f"{self.application.name}: hydra.mode=RUN collects no row: omit it")
        config = self.application.typed(composed)
        with one_sentence(self.application.name):
            device = local_device(config.device)
        measure = self.application.measure
        assert measure is not None
        with process_group(device) as processes:

            def together(folder: Path) -> Values | Block:
                processes.broadcast(str(folder))
                return measure(config, device, folder)

            if processes.rank:
                if folder := processes.broadcast(""):
                    measure(config, device, Path(folder))
            elif self._run(config, device, together):
                self.application.after(config)
            else:
                processes.broadcast("")

    def _run(
        self, config: Sweep, device: torch.device, measure: Callable[[Path], Values | Block]
    ) -> bool:
        """Whether the cell was measured now."""
        table, cell = self.application, self.application.cell_of(config)
        folder = Path(config.runs) / cell
        if cell in states.collected(table.name, config):
            print(f"{self._place(cell)}: skipped, its row is in {config.results}", flush=True)
            return False
        labels = {name: attrgetter(place)(config) for name, place in table.labels.items()}
        what, force = (cell, table.name, labels, identity(config)), states.forced(config, folder)
        try:
            row, measured = run_cell(*what, folder, device, measure, force)
        except Held as held:
            print(f"{self._place(cell)}: left to {held}", flush=True)
            return False
        except (RowsError, LocksRefused, NotBegun) as error:
            print(f"{self._place(cell)}: {error}", file=sys.stderr, flush=True)
            return False
        text = table.told(row)
        if not measured:
            made, now = row.provenance["commit"], revision()[0]
            by = f" by commit {made} (now {now}; force_changed=true)" if made != now else ""
            text = f"skipped, done before{by}: {text}"
        seconds = row.values["duration_s"] if measured else None
        print(f"{self._place(cell)}: {text}{self._times(cell, seconds)}", flush=True)
        return measured

    def _place(self, cell: str) -> str:
        """The cell, "[10/20]" before it where it is one of several."""
        cells = list(self.cells)
        number = f"[{cells.index(cell) + 1}/{len(cells)}] " if cell in cells else ""
        return f"{number}{cell}"

    def _times(self, cell: str, seconds: Value) -> str:
        """How long a cell took, and about how long those behind it will take in all."""
        if not isinstance(seconds, float) or self.forecast is None:
            return ""
        self.forecast.add(self.cells[cell], seconds)
        behind = list(self.cells.values())[list(self.cells).index(cell) + 1 :]
        left = [one for one in behind if states.row_status(one.folder) != Status.OK]
        return f"; took {duration(seconds)}{self.forecast.left(left)}"

    def foresee(self) -> Forecast:
        """Begin to tell how long the sweep takes."""
        table, first = self.application, next(iter(self.cells.values()))
        known = table.presets.get(first.config.preset, Preset())
        self.forecast = Forecast(table.times, known.minutes)
        return self.forecast


def run(application: Application) -> int:
    """Lets Hydra read the command line and launch the cells, and ends the sweep.

    Returns the exit code: 0 if every wanted cell is "ok", and where no sweep was started
    (``--help``, ``--cfg job``); 130 after Ctrl-C, 143 after SIGTERM. What Hydra refuses ends the
    process itself.
    """
    from invconv.sweeps.groups import register

    register(application)
    task = Task(application)
    try:
        check_choices(sys.argv[1:], CONF)
    except ValueError as error:
        print(f"{application.name}: {error}", file=sys.stderr)
        return 1
    main = hydra.main(version_base="1.3", config_path=str(CONF), config_name=application.name)
    stopped = False
    try:
        with stopped_by_signals():
            main(task)()
    except KeyboardInterrupt as signal:
        stopped = True
        task.code = 128 + (signal.args[0] if isinstance(signal, Stopped) else SIGINT)
    if not task.cells or task.detached or world().rank:  # processes of one cell finish as one
        return task.code
    return max(task.code, finish(application, task.cells, stopped))
