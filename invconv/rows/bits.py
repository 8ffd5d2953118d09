"""Bits per dimension of each test image, so that methods can be compared image by image.

A cell has them beside its row, and ``results/data/bits/<table>.npz`` those of all rows, by cell.
"""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from invconv.files import brief, locked, replacing
from invconv.rows.row import RowsError, read_row
from invconv.rows.status import Status

BITS = "bits.npz"
FRACTION = 2**13
"""Values are rounded to its inverse, 0.0001: more digits are noise, and take more memory."""


def bits_path(data: Path) -> Path:
    """Return where the bits are of the rows at ``data``, ``results/data/<table>.csv``."""
    return data.parent / "bits" / f"{data.stem}.npz"


def write_bits(bits: Tensor, folder: Path) -> None:
    """Write the means over all noise draws, (N,), into the folder of a cell."""
    _write({"bits": bits.numpy()}, folder / BITS)


def read_bits(path: Path) -> dict[str, np.ndarray]:
    """Return the bits per dimension of each image, float32 (N,), by cell; {} without a file.

    Raises:
        RowsError: if they cannot be read.
    """
    if not path.exists():
        return {}
    try:
        with path.open("rb") as file, np.load(file) as found:
            return {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RowsError(
            f"{path} holds no bits per dimension ({brief(error)}): delete it"
        ) from error


def collect_bits(runs: Path, data: Path, rows: pd.DataFrame) -> None:
    """Add those of the ok cells below ``runs`` to those of the ``rows`` at ``data``."""
    found = {}
    for path in sorted(runs.glob(f"**/{BITS}")):
        row = read_row(path.with_name("row.json"))
        if row is not None and row.status == Status.OK:
            found[row.cell] = read_bits(path)["bits"]
    where = bits_path(data)
    if found or where.exists():
        with locked(where):
            cells = set(rows["cell"])
            merged = read_bits(where) | found
            _write({name: merged[name] for name in sorted(merged) if name in cells}, where)


def _write(bits: dict[str, np.ndarray], path: Path) -> None:
    rounded = {
        name: (np.round(values * FRACTION) / FRACTION).astype(np.float32)
        for name, values in bits.items()
    }
    with replacing(path) as file:
        np.savez_compressed(file, **rounded)  # type: ignore[arg-type]
