"""The pictures that cells left beside their rows, as data that a page can carry."""

import base64
from dataclasses import dataclass, field
from pathlib import Path

from invconv.rows import read_row

MOST_BYTES = 1_200_000
"""Of all pictures together: the page stays below 6 MB."""
NAMES = ("samples", "reconstructions", "interpolations")

Key = tuple[str, str, str]
"""Cell, machine and commit."""


@dataclass
class Pictures:
    """What was found.

    Attributes:
        shown: row → (name, data URI) of each of its pictures.
        left_out: rows whose pictures exist and did not fit, with the path of one.
    """

    shown: dict[Key, list[tuple[str, str]]] = field(default_factory=dict)
    left_out: dict[Key, str] = field(default_factory=dict)


def find_pictures(runs: Path, most: int = MOST_BYTES) -> Pictures:
    """The pictures beside the rows below ``runs``: everyone's samples first, then the others.

    Args:
        runs: any folder; rows are found at any depth.
        most: bytes of all data URIs together.
    """
    found = Pictures()
    folders = {}
    for path in sorted(runs.glob("**/row.json")):
        row = read_row(path)
        if row is not None:
            source = row.provenance
            folders[row.cell, str(source.get("machine")), str(source.get("commit"))] = path.parent
    left = most
    for name in NAMES:
        for key, folder in folders.items():
            picture = folder / f"{name}.png"
            if not picture.exists():
                continue
            data = base64.b64encode(picture.read_bytes()).decode()
            if len(data) > left:
                found.left_out.setdefault(key, str(picture))
                continue
            left -= len(data)
            found.shown.setdefault(key, []).append((name, f"data:image/png;base64,{data}"))
    return found
