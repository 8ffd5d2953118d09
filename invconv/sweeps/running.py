"""Running a sweep: every cell of it, and how it ends."""

import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigSource
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from invconv.files import brief
from invconv.rows.provenance import revision
from invconv.rows.row import CellError, Row, RowsError
from invconv.rows.store import collect
from invconv.sweeps import jobs, states
from invconv.sweeps.cells import run_cell
from invconv.sweeps.claims import ClaimLost, Held
from invconv.sweeps.cluster import ClusterError
from invconv.sweeps.sweep import Application, identify, sweep
from invconv.training.distributed import world

HEADER = 512
"""Characters in which Hydra looks for lines such as ``# @package _global_``."""


class ConfigurationError(ValueError):
    """A configuration file that cannot be read."""


def run_config(
    application: Application,
    config: DictConfig,
    labels: Mapping[str, Any],
    device: torch.device,
    measure: Callable[[Path], dict[str, Any]],
    summary: Callable[[dict[str, Any]], str],
) -> None:
    """Runs the cell that ``config`` describes, see `run_cell`, and prints one line about it.

    Args:
        application, config: whose cell.
        labels: the row's.
        device: the one to measure on.
        measure: of the cell's folder; returns the row's values.
        summary: the values of an ok row in a few words.
    """
    cell, identity = identify(config, application.label(config))
    folder = Path(config.runs) / cell
    force = config.force or (config.force_changed and states.changed(folder))
    try:
        row, measured = run_cell(
            cell, application.table, labels, identity, folder, device, measure, force
        )
    except Held as held:
        print(f"{cell}: left to {held}")
    except RowsError as error:
        print(f"{cell}: {error}", file=sys.stderr)
    except ClaimLost as lost:
        print(f"{cell}: no row: {lost}", file=sys.stderr)
    else:
        print(f"{cell}: {_line(row, measured, summary)}", flush=True)


def _line(row: Row, measured: bool, summary: Callable[[dict[str, Any]], str]) -> str:
    if row.status != "ok":
        return f"{row.status}: {row.reason}"
    if measured:
        return summary(row.values)
    made, now = row.provenance["commit"], revision()[0]
    by = f" by commit {made} (now {now}; force_changed=true)" if made != now else ""
    return f"skipped, done before{by}: {summary(row.values)}"


def run_sweep(application: Application) -> int:
    """Runs a sweep and, whatever became of it, collects its rows and writes the page.

    Returns:
        The exit code: 0 if every wanted cell is "ok", and where no sweep was started
        (``--help``, ``--cfg job``); 2 if it cannot be started, after one line that says why; 130
        after Ctrl-C.
    """
    code = 0
    try:
        check_files(Path(inspect.getfile(inspect.unwrap(application.main))).parent / "conf")
        code = _compose(application)
        if sweep.refusal is not None:
            raise sweep.refusal
        if sweep.only_list:
            return code
        config, cells = sweep.config, sweep.cells
        if config is not None and jobs.submits(config) and not code:
            wanted = {name: cells[name] for name in _unfinished(cells)}
            timed = {name for name, cell in wanted.items() if application.times(cell)}
            if jobs.run(application.table, application.main, config, wanted, timed):
                return 0
    except HydraException:  # let out only where HYDRA_FULL_ERROR or a debugger asks for it
        raise
    except (ClusterError, CellError, RowsError, OSError, OmegaConfBaseException) as error:
        print(f"{application.table}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        code = 130
    if not sweep.cells or world().rank:  # the processes of one cell finish as one
        return code
    return max(code, _finish(application))


def check_files(folder: Path) -> None:
    """Reads every ``*.yaml`` below ``folder``: Hydra would answer a broken one with a traceback.

    Raises:
        ConfigurationError: for the first file that holds no settings; the message begins with
            its path.
    """
    for path in sorted(folder.rglob("*.yaml")):
        try:
            ConfigSource._get_header_dict(path.read_text(encoding="utf-8")[:HEADER])
            _check_settings(OmegaConf.to_container(OmegaConf.load(path)))
        except RecursionError as error:
            raise ConfigurationError(f"{path}: it is nested too deeply") from error
        except Exception as error:  # the constructors of odd tags raise what they like
            mark = getattr(error, "problem_mark", None)  # of the parser's errors
            line = "" if mark is None else f", line {mark.line + 1}"
            said = getattr(error, "problem", None) or brief(error)
            raise ConfigurationError(f"{path}{line}: {said}") from error


def _is_default(entry: object) -> bool:
    """Whether it is a name, or a group with a name, several or none."""
    if isinstance(entry, dict) and len(entry) == 1:
        (value,) = entry.values()
        names = value if isinstance(value, list) else ["" if value is None else value]
        return all(isinstance(name, str) for name in names)
    return isinstance(entry, str)


def _check_settings(settings: Any) -> None:
    """Raises ValueError for what Hydra and OmegaConf would not refuse in a sentence."""
    if not isinstance(settings, dict):
        raise ValueError("it holds a list, not settings with names")
    if not isinstance(settings.get("hydra", {}), dict):
        raise ValueError(f"hydra must be settings with names, not {settings['hydra']!r}")
    defaults = settings.get("defaults", [])
    if not isinstance(defaults, list) or not all(map(_is_default, defaults)):
        raise ValueError(f"defaults must be a list of names and of group: name, not {defaults!r}")
    values = [settings]
    for value in values:  # which grows
        if isinstance(value, dict | list):
            values += value.values() if isinstance(value, dict) else value
        elif isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError("it holds a whole number of more than 64 bits")


def _compose(application: Application) -> int:
    """Hydra's part, which for a sequential sweep is all of it; its exit code."""
    sweep.application, sweep.config, sweep.cells, sweep.refusal = application, None, {}, None
    try:
        application.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def _unfinished(cells: Mapping[str, DictConfig]) -> list[str]:
    """The cells that a launch has to start."""
    return [
        name
        for name, config in cells.items()
        if config.force
        or (config.force_changed and states.changed(Path(config.runs) / name))
        or states.row_status(Path(config.runs) / name) != "ok"
    ]


def _finish(application: Application) -> int:
    """Waits for cells that another sweep is at, collects, and says what is not ok."""
    first = next(iter(sweep.cells.values()))
    runs, results = Path(first.runs), Path(first.results)
    with suppress(KeyboardInterrupt):
        states.wait_for_others(runs, list(sweep.cells))
    table = application.table
    data = results / "data" / f"{table}.csv"
    try:
        found = {cell: states.state(runs, cell) for cell in sweep.cells}
        collect(runs, data, table, application.write_page)
    except RowsError as error:
        print(f"{table}: nothing was collected: {error}", file=sys.stderr)
        return 1
    bad = {cell: state for cell, state in found.items() if state.status != "ok"}
    page = results / f"{table}.md"
    print(f"{len(found) - len(bad)} of {len(found)} cells ok; the table is in {page}")
    for cell, state in bad.items():
        print(f"  {cell}: {state}", file=sys.stderr)
    return 1 if bad else 0
