"""The pictures that cells left beside their rows, as data that a page can carry."""

import base64
from pathlib import Path

from invconv.rows import read_row
from invconv.rows.store import KEY

MOST_BYTES = 1_200_000
"""Of all pictures together: the page stays below 6 MB."""
NAMES = ("samples", "reconstructions", "interpolations")

Pictures = dict[tuple[str, ...], list[tuple[str, str]]]
"""Cell, machine, commit → name and data URI of each picture, or "" and the path if left out."""


def find_pictures(runs: Path, most: int = MOST_BYTES) -> Pictures:
    """The pictures beside the rows below ``runs``, at any depth: samples first, then the others.

    The data URIs have ``most`` bytes together; what does not fit is left out.
    """
    found, folders = Pictures(), {}
    for path in sorted(runs.glob("**/row.json")):
        if row := read_row(path):
            known = {"cell": row.cell, **row.provenance}
            folders[tuple(str(known.get(name)) for name in KEY)] = path.parent
    for name, (key, folder) in ((name, place) for name in NAMES for place in folders.items()):
        picture = folder / f"{name}.png"
        if picture.exists():
            data = base64.b64encode(picture.read_bytes()).decode()
            fits = len(data) <= most
            most -= len(data) * fits
            entry = (name, f"data:image/png;base64,{data}") if fits else ("", str(picture))
            found.setdefault(key, []).append(entry)
    return found
