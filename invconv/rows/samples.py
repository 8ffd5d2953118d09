"""Every repeat of every timed call, so that anything can be computed again from them.

A cell has them beside its row, and ``results/data/samples/<table>.csv.gz`` those of all rows.
"""

import zlib
from pathlib import Path

import pandas as pd

from invconv.files import brief, locked, replacing
from invconv.rows.row import RowsError, block_of, read_row

SAMPLES = "samples.csv.gz"
OF_ROW = ["cell", "machine", "commit", "date"]
COLUMNS = ["call", "process", "round", "window", "quiet", "seconds"]
_COMPRESSION = {"method": "gzip", "mtime": 1, "compresslevel": 9, "filename": ""}


def samples_path(data: Path) -> Path:
    """Return where the samples are of the rows at ``data``, ``results/data/<table>.csv``."""
    return data.parent / "samples" / f"{data.stem}.csv.gz"


def write_samples(samples: pd.DataFrame, path: Path) -> None:
    """Write ``path`` atomically, with five digits of each time."""
    with replacing(path) as file:
        samples.to_csv(file, index=False, float_format="%.5g", compression=_COMPRESSION)


def read_samples(path: Path) -> pd.DataFrame:
    """Return the samples at ``path``, an empty frame if there are none.

    Raises:
        RowsError: if they cannot be read.
    """
    if not path.exists():
        return pd.DataFrame(columns=[*OF_ROW, *COLUMNS])
    try:
        text = dict.fromkeys([*OF_ROW, "call"], str)
        found = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
        if missing := [name for name in COLUMNS if name not in found]:
            raise ValueError(f"columns are missing: {', '.join(missing)}")
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise RowsError(f"{path} holds no samples ({brief(error)}): remove it") from error
    return found


def collect_samples(runs: Path, data: Path, rows: pd.DataFrame) -> None:
    """Add the samples of the cells below ``runs`` to those of the ``rows`` at ``data``.

    Samples of rows that are not there any more are dropped.
    """
    found = []
    for path in sorted(runs.glob(f"**/{SAMPLES}")):
        if (row := read_row(path.with_name("row.json"))) is not None:
            source = {name: row.provenance[name] for name in OF_ROW[1:]}
            found.append(read_samples(path).assign(cell=row.cell, **source))
    where = samples_path(data)
    if not found and not where.exists():
        return
    blocks = rows.assign(cell=block_of(rows["cell"]))[OF_ROW].drop_duplicates()
    with locked(where):
        parts = [part for part in (read_samples(where), *found) if len(part)]
        merged = pd.concat(parts, ignore_index=True)[[*OF_ROW, *COLUMNS]]
        merged = merged.drop_duplicates([*OF_ROW, "call", "process", "round"], keep="last")
        kept = merged.merge(blocks.astype(str), on=OF_ROW)
        write_samples(kept.sort_values(OF_ROW, kind="stable", ignore_index=True), where)
