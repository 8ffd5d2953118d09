"""What inverses that are iterations take, while a flow is trained."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from invconv.bench.verification import dequantized
from invconv.files import write_atomically
from invconv.flows import LevelFlow
from invconv.report import Entry, Line
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.naming import data_title
from invconv.rows.columns import Number

MOMENTS = ("start", "middle", "end")
SHOWN: dict[str, tuple[str, Callable[[float], str]]] = {
    "inverse_steps": ("steps", "{:.0f}".format),
    "one_step_residual": ("one step's residual", "{:.1e}".format),
    "contraction": ("‖I − R·W‖", "{:.1e}".format),
}
"""Column, without the moment → its title and its form."""
COLUMN = Number(" ".join(f"{name}_*" for name in SHOWN), infinite=True)


@torch.no_grad()
def convergence(flow: LevelFlow, images: Tensor) -> dict[str, float]:
    """What `Bijection.convergence` says of the worst layer; {} of a flow of exact inverses.

    Args:
        flow: it is in eval mode afterwards.
        images: (B, C, H, W), integers.
    """
    parts = [part for _, part in flow.eval().parts()]
    found: dict[str, float] = {}
    if all(part.exact for part in parts):
        return found
    y = dequantized(flow, images)
    for part in parts:
        z = part.latent(y)
        for name, value in part.convergence(z).items():
            found[name] = max(found.get(name, 0.0), value)
        y = z[:, : z.shape[1] - part.leaving]
    return found


class Convergence:
    """The convergence at each of `MOMENTS`, in a file, so that a run that resumes has them all.

    Args:
        flow: that is trained.
        images: (B, C, H, W), integers.
        steps: of the training.
        folder: of the cell.
    """

    def __init__(self, flow: LevelFlow, images: Tensor, steps: int, folder: Path) -> None:
        self.flow, self.images, self.steps = flow, images, steps
        self.path = folder / "convergence.json"

    def values(self) -> dict[str, float]:
        """What is known so far."""
        return (
            dict(json.loads(self.path.read_text(encoding="utf-8"))) if self.path.exists() else {}
        )

    def __call__(self, step: int) -> None:
        """Look at the flow after so many steps: none, half or all of them."""
        when = MOMENTS[0 if not step else 2 if step == self.steps else 1]
        if found := convergence(self.flow, self.images):
            told = {f"{name}_{when}": value for name, value in found.items()}
            write_atomically(json.dumps({**self.values(), **told}).encode(), self.path)


def convergence_lines(rows: pd.DataFrame) -> Iterator[Line]:
    """Yield a line for each training that has such inverses: start → middle → end."""
    for _, row in rows.iterrows():
        if pd.isna(row.get("inverse_steps_end")):
            continue
        line: dict[str, object] = {"data": data_title(row["dataset"])}
        line["method"] = bl.named(bl.title(row["method"]), row)
        for name, (title, form) in SHOWN.items():
            at = [en.value(row, f"{name}_{when}", form) for when in MOMENTS]
            text = " → ".join(entry.text for entry in at) if at[-1].sources else en.ABSENT
            line[title] = Entry(text, tuple(one for entry in at for one in entry.sources))
        yield line
