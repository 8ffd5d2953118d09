"""Pages with a section and a picture for each block of rows."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from invconv.report import blocks as bl
from invconv.report.document import Document

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def illustrated(
    template: Path,
    blocks: Iterable[pd.DataFrame],
    detail: str,
    show: Callable[[pd.DataFrame], Mapping[str, object]],
    draw: Callable[[pd.DataFrame], "Figure"],
    **context: object,
) -> Document:
    """Return a page with a section and a picture for each block.

    Args:
        template: named after the table.
        blocks: of rows, see `invconv.report.blocks.blocks`.
        detail: the end of a picture's name, such as ``scaling-amd-epyc-2-cores-c12``, as a format
            of the block's first row.
        show: what the template shows of a block besides its picture, first row, origin, failures
            and lossy models.
        draw: its picture.
        context: what the template shows besides the blocks.
    """
    stem = template.name.partition(".")[0]
    names: list[str] = []
    pictures, shown = {}, []
    for block in blocks:
        first = block.iloc[0]
        machine = re.sub(r"[\W_]+", "-", str(first["machine"]).lower()).strip("-")
        names.append(f"{stem}-{machine}-{detail.format_map(first)}")
        number = names.count(names[-1])
        name = f"{names[-1]}-{number}" if number > 1 else names[-1]
        pictures[name] = partial(draw, block)
        ends = {"failures": bl.failures(block), "lossy": bl.lossy(block)}
        part = {"picture": name, "first": first, "origin": bl.origin(block), **ends}
        shown.append({**part, **show(block)})
    return Document(stem, template, {"blocks": shown, **context}, pictures)
