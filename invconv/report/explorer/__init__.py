"""The explorer: one page with every row, its figures and what was published, in one HTML file."""

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

import pandas as pd

from invconv.files import write_text_atomically
from invconv.report.explorer.samples import Pictures, find_pictures
from invconv.report.explorer.tables import Shown, table_data


class LibraryMissing(ImportError):
    """One of the JavaScript libraries that the page carries is not installed."""


def write_explorer(
    tables: Iterable[Shown], rows: Mapping[str, pd.DataFrame], path: Path, runs: Path
) -> Path:
    """Write the explorer page and return its path.

    Args:
        tables: what is shown, in this order.
        rows: of each table by name, as `read_table` gives them.
        path: of the HTML file.
        runs: where the cells' folders are, whose pictures are shown; it need not exist.

    Raises:
        LibraryMissing: without plotly or itables.
    """
    write_text_atomically(page(tables, rows, find_pictures(runs)), path)
    return path


def page(
    tables: Iterable[Shown], rows: Mapping[str, pd.DataFrame], pictures: Pictures | None = None
) -> str:
    """Return the whole page, which loads nothing from a network.

    The rows and the libraries stand in it compressed, since plotly alone has 4.8 MB.
    """
    data = {"tables": [table_data(table, rows[table.name], pictures) for table in tables]}
    plotly, datatables, style = libraries()
    template, own_style, code = (
        (files(__name__) / name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "page.js")
    )
    parts = {
        "style": f"{style}\n{own_style}",
        "rows": packed(json.dumps(data, default=vars, ensure_ascii=False, allow_nan=False)),
        "plotly": packed(plotly),
        "datatables": packed(datatables),
        "code": code,
    }
    for name, text in parts.items():
        template = template.replace(f"<!-- {name} -->", text, 1)
    return template


def libraries() -> tuple[str, str, str]:
    """The JavaScript of plotly and DataTables and the style sheet of the latter.

    Raises:
        LibraryMissing: if the package that brings one of them is not there.
    """
    try:
        from plotly.offline import get_plotlyjs

        bundle = files("itables") / "html"
        texts = [
            (bundle / f"dt_bundle.{kind}").read_text(encoding="utf-8") for kind in ("js", "css")
        ]
    except (ImportError, OSError) as error:
        raise LibraryMissing(
            f"the page needs plotly and itables ({error}): pip install 'invconv[explorer]'"
        ) from error
    return get_plotlyjs(), texts[0], texts[1]


def packed(text: str) -> str:
    """``text`` by gzip, in base64; the same text gives the same characters."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
