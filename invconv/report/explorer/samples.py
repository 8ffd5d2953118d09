"""The pictures that cells left beside their rows, as data that a page can carry."""

import base64
from dataclasses import dataclass, field
from pathlib import Path

from invconv.rows import read_row
from invconv.rows.store import KEY

MOST_BYTES = 1_200_000
"""Of all pictures together: the page stays below 6 MB."""
NAMES = ("samples", "reconstructions", "interpolations")


@dataclass
class Pictures:
    """What was found, by cell, machine and commit.

    Attributes:
        shown: name and data URI of each picture of a row.
        left_out: the path of one that did not fit.
    """

    shown: dict[tuple[str, ...], list[tuple[str, str]]] = field(default_factory=dict)
    left_out: dict[tuple[str, ...], str] = field(default_factory=dict)


def find_pictures(runs: Path, most: int = MOST_BYTES) -> Pictures:
    """Return the pictures beside the rows below ``runs``: all samples first, then the others.

    Args:
        runs: any folder; rows are found at any depth.
        most: bytes of all data URIs together.
    """
    found, folders = Pictures(), {}
    for path in sorted(runs.glob("**/row.json")):
        if row := read_row(path):
            known = {"cell": row.cell, **row.provenance}
            folders[tuple(str(known.get(name)) for name in KEY)] = path.parent
    places = ((name, *place) for name in NAMES for place in folders.items())
    for name, key, folder in places:
        picture = folder / f"{name}.png"
        if not picture.exists():
            continue
        data = base64.b64encode(picture.read_bytes()).decode()
        if len(data) > most:
            found.left_out.setdefault(key, str(picture))
        else:
            most -= len(data)
            found.shown.setdefault(key, []).append((name, f"data:image/png;base64,{data}"))
    return found
