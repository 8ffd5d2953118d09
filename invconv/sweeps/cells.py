"""Running one cell of a sweep: skip it if it is done, lock it, and end with a row."""

import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from invconv.files import remove_partial, write_text_atomically
from invconv.rows.provenance import device_name, provenance, revision
from invconv.rows.row import Block, Part, Row, RowsError, Value, Values, read_row, write_row
from invconv.rows.samples import SAMPLES, write_samples
from invconv.rows.status import NotBegun, Status, classify, describe, is_refusal
from invconv.sweeps.locks import ATTEMPTS, LOCK, Lock, slurm_job

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from invconv.sweeps.config import Sweep

BEFORE = ".before"
"""How the names end of what ``force`` sets aside."""


@dataclass(frozen=True)
class Cell:
    """One configuration of a sweep: what Hydra composed, and of that the table's part, typed."""

    name: str
    number: int
    overrides: list[str]
    composed: "DictConfig"
    config: "Sweep"

    @property
    def folder(self) -> Path:
        """The cell's own."""
        return Path(self.config.runs) / self.name

    @property
    def arguments(self) -> tuple[list[str], str, int, str, dict[Any, Any]]:
        """What its job calls the launcher with, as hydra-submitit-launcher has it."""
        from hydra.core.singleton import Singleton  # a GPU session measures cells without Hydra

        job = f"cell_{self.number}"
        return self.overrides, "hydra.sweep.dir", self.number, job, Singleton.get_state()


def run_cell(
    cell: str,
    table: str,
    labels: Mapping[str, Value],
    config: Mapping[str, object],
    folder: Path,
    device: torch.device,
    measure: Callable[[Path], Values | Block],
    force: bool = False,
) -> tuple[Row, bool]:
    """Measure one cell and write ``folder/row.json`` the moment it ends.

    A cell whose row is "ok" is skipped; every other one is tried again. Outside SLURM a row of
    another device does not count: you want this machine's times, while jobs of one sweep may run
    on unlike nodes. The cell is locked meanwhile, so that no other process runs it. What the
    measurement raises becomes the row's status and reason, with the traceback in
    ``folder/traceback.txt``, so that one failing cell never stops the others; a process that is
    stopped leaves no row, and neither does a cell that measured nothing.

    With ``force`` the cell's row and checkpoints are deleted, unless what it asks for is not there
    any more; a SLURM job that was requeued resumes instead. Returns the row, and whether it was
    measured now; raises Held if another process works on it, and NotBegun if what it asks for is
    not there.
    """
    path = folder / "row.json"
    if not force and (done := _done(path, device)):
        return done, False
    with Lock(folder) as lock:
        force = force and not lock.requeued
        if force:
            for entry in _set_aside(folder):  # of a process that was killed
                _delete(entry)
            for entry in _contents(folder):
                entry.rename(entry.with_name(entry.name + BEFORE))
        elif done := _done(path, device):
            lock.outcome = "skipped"
            return done, False
        remove_partial(folder)
        (folder / "traceback.txt").unlink(missing_ok=True)
        revision()  # of the code that was loaded, not of what it has become when the cell ends
        start, values, status, reason = time.perf_counter(), Values(), Status.OK, ""
        parts: dict[str, Part] = {}
        (folder / SAMPLES).unlink(missing_ok=True)
        try:
            measured = measure(folder)
            if isinstance(measured, Block):
                if len(measured.samples):
                    write_samples(measured.samples, folder / SAMPLES)
                values, parts = dict(measured.values), _judged(measured)
                status, reason = _outcome(measured, parts)
            else:
                values |= measured
        except BrokenPipeError:  # nobody reads what is printed: the process ends
            raise
        except Exception as error:
            status, reason = classify(error), describe(error)
            write_text_atomically(traceback.format_exc(), folder / "traceback.txt")
            if is_refusal(error):
                lock.outcome, lock.reason = "refused", said(error)
                _drop_error(path)
                if force:
                    _bring_back(folder)
                raise NotBegun(lock.reason) from error
        values["duration_s"] = round(time.perf_counter() - start, 2)
        source = provenance(device)
        row = Row(cell, table, status, reason, dict(labels), dict(config), values, source, parts)
        write_row(row, path)
        for entry in _set_aside(folder):
            _delete(entry)
        lock.outcome = status
        return row, True


def said(error: Exception) -> str:
    """What an exception says, in one line; with its kind where that is not a sentence."""
    whole = str(error) and not isinstance(error, LookupError)
    return " ".join(str(error).split()) if whole else describe(error)


def _drop_error(path: Path) -> None:
    """Delete an error row of an earlier attempt, which would be collected again."""
    with suppress(RowsError):
        row = read_row(path)
        if row is not None and row.status == Status.ERROR:
            path.unlink()


def _judged(block: Block) -> dict[str, Part]:
    """The parts of a block; those that did not fail are noisy if it is."""
    if not block.noisy:
        return dict(block.parts)
    return {
        name: replace(part, status=Status.NOISY, reason=block.noisy)
        if part.status == Status.OK
        else part
        for name, part in block.parts.items()
    }


def _outcome(block: Block, parts: Mapping[str, Part]) -> tuple[Status, str]:
    """How a block ended: as its first part that failed, otherwise whether it was noisy."""
    for name, part in parts.items():
        if part.status not in (Status.OK, Status.NOISY):
            return part.status, f"{name}: {part.reason}"
    return (Status.NOISY, block.noisy) if block.noisy else (Status.OK, "")


def _done(path: Path, device: torch.device) -> Row | None:
    row = read_row(path)
    if row is None or row.status != Status.OK:
        return None
    return row if slurm_job() or row.provenance.get("device") == device_name(device) else None


def _contents(folder: Path) -> list[Path]:
    """All but the lock, whose file must stay the one that is locked, and the attempts."""
    return [entry for entry in folder.iterdir() if entry.name not in (LOCK, ATTEMPTS)]


def _set_aside(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.name.endswith(BEFORE)]


def _bring_back(folder: Path) -> None:
    """Put what ``force`` had set aside in the place of what was made since."""
    for entry in _set_aside(folder):
        place = entry.with_name(entry.name.removesuffix(BEFORE))
        _delete(place)
        entry.rename(place)


def _delete(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)
