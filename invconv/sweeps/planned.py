"""Cells that a command plans itself, without Hydra."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from invconv.rows import Block, Row, RowsError, Values, cell_id
from invconv.rows.status import NotBegun
from invconv.sweeps.cells import run_cell
from invconv.sweeps.locks import Held


class Planned(NamedTuple):
    """One row to be: its readable name, what identifies it, and how it is measured."""

    label: str
    labels: Values
    measure: Callable[[], Values | Block]

    def run(
        self,
        table: str,
        folder: Path,
        device: torch.device,
        told: Callable[[Row], str],
        force: bool = False,
        **identity: object,
    ) -> bool:
        """Measure it, below ``folder``, unless that was done, and print what became of it.

        Args:
            told: what is printed of a row.
            identity: what identifies the cell besides its labels.

        Returns:
            Whether its row is ok or unsupported.
        """
        config = {**self.labels, **identity}
        name = cell_id(self.label, config)
        what = name, table, self.labels, config, folder / name, device
        try:
            row, _ = run_cell(*what, lambda _: self.measure(), force)
        except (Held, RowsError, NotBegun) as error:
            why = f"left to {error}" if isinstance(error, Held) else error
            print(f"{self.label}: {why}", file=sys.stderr)
            return False
        print(f"{self.label}: {row.status} {told(row)} ({row.values['duration_s']} s)", flush=True)
        return row.status in ("ok", "unsupported")
