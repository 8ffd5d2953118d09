"""What is refused before the first cell: folders, names and numbers that would fail later."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryFile

import torch

from invconv.files import user_path
from invconv.rows.columns import Name
from invconv.rows.provenance import provenance, unknown_commit
from invconv.rows.store import read_table
from invconv.sweeps.config import Sweep, identity
from invconv.sweeps.locks import check_locks
from invconv.training.distributed import world

PATTERN = re.compile(r"%[\w%]")
"""What SLURM and submitit replace in the names of their files: %j by a job's number."""


class FolderError(ValueError):
    """A folder that a sweep cannot have; one sentence that says what to do."""


def check_start(table: str, runs: str, results: str, jobs: bool) -> None:
    """Check what all cells of a sweep share, and say so on stderr if the commit is unknown.

    Args:
        table: the table's name.
        runs, results: folders as they were given.
        jobs: whether cells become jobs of submitit.

    Raises:
        FolderError: if no file can be made in one of them.
        LocksRefused: if one is on a file system without locks.
        RowsError: if what is in ``results`` cannot be read, or for what `provenance` refuses.
        ValueError: if RANK and WORLD_SIZE are of another tool.
    """
    leads = world().rank == 0
    for option, given, below in (("runs", runs, "."), ("results", results, "data")):
        folder = check_writable(given, option, below)
        check_locks(folder)
    if jobs and (found := PATTERN.search(str(user_path(runs).absolute()))):
        raise FolderError(
            f"the folder {user_path(runs).absolute()} holds {found[0]!r}, which launchers replace "
            "by numbers of jobs: choose another one with runs=..., or launch=basic"
        )
    read_table(user_path(results) / "data" / f"{table}.csv")
    provenance(torch.device("cpu"))
    if leads and (words := unknown_commit()):
        print(f"{table}: {words}", file=sys.stderr)


def check_writable(given: str, option: str, below: str = ".") -> Path:
    """Return the folder in which the one at ``given``/``below`` is or will be made.

    Raises FolderError, naming the ``option``, if no file can be made there.
    """
    if not given:
        raise FolderError(f"{option}= must name a folder: it is empty")
    folder = (user_path(given) / below).absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        TemporaryFile(dir=there).close()
    except OSError as error:
        raise FolderError(
            f"the folder {user_path(given)} cannot be written ({error.strerror}): choose another "
            f"one with {option}=..., on a file system that all nodes share"
        ) from error
    return there


def check_cells(cells: Sequence[Sweep], labels: Mapping[str, str], here: bool) -> None:
    """Raise ValueError for what no row can hold, no page can show, or not all cells share.

    Args:
        cells: their configurations.
        labels: those of the table, names and places in the configuration.
        here: whether they run on this machine; then paths that are not there raise OSError.
    """
    if len({(config.runs, config.results) for config in cells}) > 1:
        raise ValueError("the cells of a sweep have one runs= and one results=, not several")
    for config in cells:
        if here:
            config.check_paths()
        for name, value in _integers(identity(config)):
            if not -(2**63) <= value < 2**63:
                raise ValueError(f"{name} must be an integer from -2^63 to 2^63 - 1, not {value}")
        for name, place in labels.items():
            if must := Name(name).refusal(value := attrgetter(place)(config)):
                raise ValueError(f"{name} must be {must}, not {value!r:.250}")


def _integers(value: object, name: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _integers(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _integers(inner, name)
    elif isinstance(value, int):
        yield name, value
