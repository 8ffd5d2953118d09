"""Rows that somebody submits, with their weights: verified again, and nothing of it executed."""

import json
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from invconv.bench.flow_timing import VERIFIED
from invconv.bench.verification import verify_round_trip
from invconv.data import ImageSet, data_set, load
from invconv.files import brief
from invconv.flows import LevelFlow
from invconv.flows.files import CheckpointError
from invconv.flows.saving import build_with_weights
from invconv.rows import Incorrect, RowsError, read_table
from invconv.tables.importing import check_rows
from invconv.tables.table import Table, tables
from invconv.tables.trained import Trained, describe_flow
from invconv.training.evaluation import bits_per_draw

WEIGHTS = ".npz"
SUFFIXES = (".csv", WEIGHTS, ".md")
LARGEST = 2**32
"""Bytes of the weights of one flow, uncompressed."""
ROUNDING = 0.001
"""How much bits per dimension of the same weights and noise may differ between two machines."""
NOISE = 4.0
"""So many standard errors of the mean over the draws are allowed on top for rows of a GPU, whose
noise is another."""


@dataclass(frozen=True)
class Verified:
    """A row whose weights were verified.

    Attributes:
        cell: of the row.
        round_trip_error: of these weights, relative.
        bpd: on the test split, computed again; None where the data are not on this machine.
    """

    cell: str
    round_trip_error: float
    bpd: float | None


def check_submission(
    folder: Path, root: Path | None = None, say: Callable[[str], object] = lambda _: None
) -> list[Verified]:
    """Verify the rows in a folder and the weights behind them.

    The folder holds the rows of one table or several, as ``*.csv``, and for each row of a
    training ``CELL.npz``, arrays named as in the ``state_dict`` of the trained flow. Of the
    weights numbers are read, and no pickle. The flow is built from the row's configuration.

    Args:
        folder: what was submitted.
        root: where data sets are, as in `invconv.data.load`.
        say: is given a sentence about each row that was verified.

    Raises:
        RowsError: if something is missing, does not fit, or is not what its row says; the message
            has a line for each reason.
    """
    if not folder.is_dir():
        raise RowsError(f"there is no folder {folder}")
    names = sorted(path.name for path in folder.iterdir())
    odd = [name for name in names if Path(name).suffix not in SUFFIXES]
    if odd:
        raise RowsError(
            f"{folder} holds {', '.join(odd)}: rows come as .csv, weights as {WEIGHTS}, which "
            "holds numbers and nothing that could be executed, and notes as .md"
        )
    files = [folder / name for name in names if name.endswith(".csv")]
    if not files:
        raise RowsError(f"{folder} holds no rows: add a .csv file")
    wrong: list[str] = []
    found: list[Verified] = []
    used: set[str] = set()
    for path in files:
        try:
            rows = read_table(path)
            check_rows(rows, tables())
        except RowsError as error:
            wrong += [f"{path.name}: {line}" for line in str(error).splitlines()]
            continue
        table = tables()[str(rows["table"].iloc[0])]
        fit = "1 row of {} fits" if len(rows) == 1 else f"{len(rows)} rows of {{}} fit"
        say(f"{path.name}: {fit.format(table.name)}")
        for cell, row in _trained(rows):
            used.add(f"{cell}{WEIGHTS}")
            try:
                one = _verify(row, table, folder / f"{cell}{WEIGHTS}", root)
            except RowsError as error:
                wrong.append(f"{cell}: {error}")
                continue
            found.append(one)
            bits = "no data here for its bpd"
            if one.bpd is not None:
                bits = f"bpd {one.bpd:.4f}, and {float(row['bpd']):.4f} in its row"
            say(f"{cell}: round trip {one.round_trip_error:.1e}, {bits}")
    spare = [name for name in names if name.endswith(WEIGHTS) and name not in used]
    wrong += [f"{name} belongs to no row" for name in spare if not wrong]
    if wrong:
        raise RowsError("\n".join(wrong))
    return found


def _trained(rows: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """Each row of a training with the name of its cell."""
    for _, row in rows.iterrows():
        if not pd.isna(row.get("bpd")):
            yield str(row["cell"]), row


def _verify(row: pd.Series, table: Table, path: Path, root: Path | None) -> Verified:
    weights = read_weights(path)
    config = _config(row, table)
    data = _data(config, root)
    images, shape, levels = _images(config, data)
    try:
        architecture = describe_flow(config, config.method, shape, levels)
        flow = build_with_weights(architecture, weights, path.name)
        errors = verify_round_trip(flow.eval(), images)
    except (CheckpointError, Incorrect) as error:
        raise RowsError(str(error)) from error
    bpd = None if data is None else _bits(row, config, flow, data)
    return Verified(path.stem, float(errors["round_trip_error"] or 0.0), bpd)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The arrays of an .npz file, by name; numbers only.

    Raises:
        RowsError: if there is no such file, or if it holds anything else.
    """
    if not path.is_file():
        raise RowsError(
            f"its weights, {path.name}, are missing: a row of a training comes with them"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST:
            raise ValueError(f"it unpacks to {size} bytes, more than {LARGEST}")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: _tensor(name, arrays[name]) for name in arrays.files}
    except (OSError, ValueError, TypeError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise RowsError(f"{path.name} holds no weights: {brief(error)}") from error


def _tensor(name: str, array: object) -> Tensor:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise ValueError(f"{name!r} is no array of numbers")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))


def _config(row: pd.Series, table: Table) -> Trained:
    """The row's configuration, with what it does not say at its default."""
    asked: dict[str, Any] = {**json.loads(row["config"]), "runs": ".", "results": "."}
    try:
        config = table.typed(OmegaConf.create(asked))
    except (OmegaConfBaseException, HydraException, ValueError, TypeError) as error:
        raise RowsError(
            f"its config is no configuration of {table.name} ({brief(error)})"
        ) from error
    if isinstance(config, Trained) and config.dataset.name == "folder":
        raise RowsError("it is of images of your own, which nobody else can verify")
    if not isinstance(config, Trained):
        raise RowsError(f"{table.name} trains nothing, so that its rows have no bpd")
    return config


def _data(config: Trained, root: Path | None) -> ImageSet | None:
    try:
        options = {name: v for name, v in config.dataset.options.items() if name != "path"}
        return load(split="test", root=root, **options)
    except (OSError, ImportError):
        return None
    except (TypeError, ValueError) as error:
        raise RowsError(f"its data set is none: {brief(error)}") from error


def _images(config: Trained, data: ImageSet | None) -> tuple[Tensor, tuple[int, int, int], int]:
    """Images for the round trip, their shape, and their levels; random ones without data."""
    if data is not None:
        return data.images[:VERIFIED], data.shape, data.levels
    known = data_set(config.dataset.name)
    if known.shape is None or known.levels is None:
        raise RowsError(f"{known.name} is not on this machine, and says nothing of its images")
    levels = known.levels if config.dataset.bits is None else 2**config.dataset.bits
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(levels, (VERIFIED, *known.shape), generator=generator).byte()
    return images, known.shape, levels


def _bits(row: pd.Series, config: Trained, flow: LevelFlow, data: ImageSet) -> float:
    """Bits per dimension of these weights; RowsError if the row says something else."""
    bits = bits_per_draw(flow, data, draws=config.draws)
    found, said = bits.mean().item(), float(row["bpd"])
    allowed = ROUNDING
    if not pd.isna(row.get("cuda")) and len(bits) > 1:
        allowed += NOISE * bits.mean(1).std().item() / math.sqrt(len(bits))
    if not abs(found - said) <= allowed:
        raise RowsError(
            f"these weights have {found:.4f} bits per dimension on the test split, and its row "
            f"says {said:.4f}: more than {allowed:.4f} apart is neither rounding nor noise"
        )
    return found
