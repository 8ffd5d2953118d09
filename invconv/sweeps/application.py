"""A table as a Hydra application: from the command line to its cells, their rows and its page."""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
import torch
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf

from invconv.rows import Row, RowsError, Status, Values, cell_id, collect
from invconv.rows.provenance import ROOT, revision
from invconv.sweeps import states
from invconv.sweeps.cells import run_cell
from invconv.sweeps.config import Sweep, identity
from invconv.sweeps.locks import Held, LocksRefused
from invconv.training.distributed import local_device, process_group, world

CONF = ROOT / "reproductions" / "conf"


class SweepError(CompactHydraException):
    """A sweep that cannot be started; Hydra prints the message, one sentence, and exits with 1."""


@dataclass(frozen=True)
class Preset:
    """The sizes at which a table is measured.

    Attributes:
        settings: of the configuration.
        sweep: what is swept where the command line says nothing, in Hydra's words.
        minutes: about how long it takes on two cores.
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    sweep: Mapping[str, str] = field(default_factory=dict)
    minutes: float = 0


@dataclass(frozen=True, kw_only=True)
class Application:
    """What is measured, and how: one cell for each configuration that Hydra composes.

    Attributes:
        name: of the table, its script and its folders.
        config: the configuration's dataclass, a `Sweep`; None for rows that no sweep makes.
        measure: measures one cell: its typed configuration, the device and the cell's own folder,
            for checkpoints, to the row's values.
        cell: the readable part of a cell's name, a format of the configuration's fields.
        labels: by which a reader finds a row: its columns, and where the configuration has them.
        presets: by name, "tiny" and "default" among them. Rows of "tiny" stay out of results/.
        choices: the options that Hydra's groups have where nothing else is said.
        groups: options of groups that only this table has.
        times: whether a cell times something, so that it should be alone.
        summary: the values of an ok row in a few words.
        after: is given the configuration of each cell that was measured.
    """

    name: str
    config: type[Sweep] | None = None
    measure: Callable[[Any, torch.device, Path], Values] | None = None
    cell: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    presets: Mapping[str, Preset] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    times: Callable[[Any], bool] = lambda _: True
    summary: Callable[[Values], str] = lambda _: "ok"
    after: Callable[[Any], None] = lambda _: None

    def write_page(self, rows: pd.DataFrame, results: Path) -> object:
        """Writes the page of all rows into ``results``."""
        raise NotImplementedError

    def typed(self, composed: DictConfig) -> Sweep:
        """The configuration that Hydra composed, as an object of `config`.

        Raises:
            OmegaConfBaseException: if a value cannot be resolved.
            SweepError: if one is missing.
        """
        job = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        merged = OmegaConf.merge(OmegaConf.structured(self.config), job)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise SweepError(
                f"{self.name}: there is no value for {', '.join(missing)}: choose a preset and "
                "data set that go together, or set these"
            )
        found: Sweep = OmegaConf.to_object(merged)  # type: ignore[assignment]
        return found

    def cell_of(self, config: Sweep) -> str:
        """The name of the configuration's cell.

        Raises:
            CellError: if it cannot be that of a folder.
        """
        return cell_id(self.cell.format(**vars(config)), identity(config))


class Task:
    """What Hydra calls with each composed configuration, and what it was to run.

    Attributes:
        cells: the wanted cells by name, once a launcher was given them.
        detached: whether they were left to themselves, or only listed.
        code: the exit code, as far as it is known.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.cells: dict[str, Sweep] = {}
        self.detached = False
        self.code = 0

    def __call__(self, composed: DictConfig) -> None:
        """Runs one cell; of several processes that torchrun started, all together."""
        config = self.application.typed(composed)
        device = local_device(pick_device(config.device))
        measure = self.application.measure
        assert measure is not None
        with process_group(device) as processes:
            if processes.rank:
                folder = processes.broadcast("")
                if folder:
                    measure(config, device, Path(folder))
                return
            begun = False

            def together(folder: Path) -> Values:
                nonlocal begun
                begun = bool(processes.broadcast(str(folder)))
                return measure(config, device, folder)

            self._run(config, device, together)
            if begun:
                self.application.after(config)
            else:
                processes.broadcast("")

    def _run(self, config: Sweep, device: torch.device, measure: Callable[[Path], Values]) -> None:
        table = self.application
        cell = table.cell_of(config)
        folder = Path(config.runs) / cell
        labels = {name: attrgetter(place)(config) for name, place in table.labels.items()}
        force = config.force or (config.force_changed and states.changed(folder))
        try:
            row, measured = run_cell(
                cell, table.name, labels, identity(config), folder, device, measure, force
            )
        except Held as held:
            print(f"{cell}: left to {held}")
        except (RowsError, LocksRefused) as error:
            print(f"{cell}: {error}", file=sys.stderr)
        else:
            print(f"{cell}: {self._line(row, measured)}", flush=True)

    def _line(self, row: Row, measured: bool) -> str:
        if row.status != Status.OK:
            return f"{row.status}: {row.reason}"
        summary = self.application.summary(row.values)
        if measured:
            return summary
        made, here = row.provenance["commit"], revision()[0]
        by = f" by commit {made} (now {here}; force_changed=true)" if made != here else ""
        return f"skipped, done before{by}: {summary}"

    def finish(self) -> int:
        """Waits for cells that another sweep is at, collects, and says what is not ok.

        Returns:
            The exit code: 0 if every wanted cell is "ok".
        """
        table, first = self.application, next(iter(self.cells.values()))
        runs, results = Path(first.runs), Path(first.results)
        with suppress(KeyboardInterrupt):
            states.wait_for_others(runs, list(self.cells))
        data = results / "data" / f"{table.name}.csv"
        try:
            found = {cell: states.state(runs, cell) for cell in self.cells}
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

    Returns:
        The exit code: 0 if every wanted cell is "ok", and where no sweep was started (``--help``,
        ``--cfg job``); 130 after Ctrl-C. What Hydra refuses ends the process in its own way.
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
