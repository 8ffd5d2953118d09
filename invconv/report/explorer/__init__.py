"""The explorer: one page with every row, its figures and what was published, in one HTML file."""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

import pandas as pd

from invconv.files import write_text_atomically
from invconv.report.explorer.samples import find_pictures
from invconv.report.explorer.tables import Shown, table_data

CODE = ("common.js", "grid.js", "figure.js", "detail.js", "address.js", "page.js")
"""The page's own code, one module in this order."""
EMPTY: Mapping[str, object] = {"columns": [], "values": [], "notes": {}}


class LibraryMissing(ImportError):
    """One of the JavaScript libraries that the page carries is not installed."""


def write_explorer(
    tables: Iterable[Shown],
    rows: Mapping[str, pd.DataFrame],
    path: Path,
    runs: Path,
    board: Mapping[str, object] = EMPTY,
) -> Path:
    """Write the explorer page, which loads nothing from a network, and return its path.

    Args:
        tables: what is shown, in this order.
        rows: those of each table, by its name.
        path: of the HTML file.
        runs: a folder below which cells may have left pictures.
        board: the leaderboard, see `invconv.tables.leaderboard`.

    Raises:
        LibraryMissing: without plotly or itables.
    """
    pictures = find_pictures(runs)
    shown = [table_data(table, rows[table.name], pictures) for table in tables]
    data = {"tables": shown, "board": board}
    try:
        from plotly.offline import get_plotlyjs

        bundle = files("itables") / "html"
        code = (bundle / "dt_bundle.js").read_text(encoding="utf-8")
        style = (bundle / "dt_bundle.css").read_text(encoding="utf-8")
    except (ImportError, OSError) as error:
        raise LibraryMissing(
            f"the page needs plotly and itables ({error}): pip install 'invconv[explorer]'"
        ) from error
    own = files(__name__)
    page, own_style, *own_code = (
        (own / name).read_text(encoding="utf-8") for name in ("page.html", "page.css", *CODE)
    )
    parts = {
        "style": f"{style}\n{own_style}",
        "rows": _packed(json.dumps(data, default=vars, ensure_ascii=False, allow_nan=False)),
        "plotly": _packed(get_plotlyjs()),
        "datatables": _packed(code),
        "code": "\n".join(own_code),
    }
    for name, text in parts.items():
        page = page.replace(f"<!-- {name} -->", text, 1)
    write_text_atomically(page, path)
    return path


def _packed(text: str) -> str:
    """Compressed, since plotly alone has 4.8 MB; the same text gives the same characters."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
