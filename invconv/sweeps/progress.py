"""How far a sweep and the training of a cell have come; read from folders, without torch."""

import pickle
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from invconv.sweeps.cells import Cell

UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
TENSORS = frozenset({"torch._utils", "torch.serialization", "torch"})
"""The modules whose names a checkpoint's tensors are made of."""


class Forecast:
    """About how long a sweep still takes, told from what its cells took.

    Cells are of two kinds, those that are timed and the others. Until one of each kind that is
    left has ended, the answer is what is left of the ``minutes`` that the preset is said to take.
    """

    def __init__(self, times: Callable[[Any], bool], minutes: float = 0) -> None:
        self.times, self.took = times, dict[bool, list[float]]()
        self.end = time.monotonic() + 60 * minutes

    def add(self, cell: "Cell", seconds: float) -> None:
        """Note the seconds by which a cell that ended brought the sweep's end nearer."""
        self.took.setdefault(self.times(cell.config), []).append(seconds)

    def left(self, cells: "Iterable[Cell]") -> str:
        """Return ", about 3 min left" for these cells, "" for none."""
        kinds = [self.times(cell.config) for cell in cells]
        if not kinds:
            return ""
        means = {kind: sum(took) / len(took) for kind, took in self.took.items()}
        seconds = sum(means.get(kind, max(means.values(), default=0)) for kind in kinds)
        said = self.end - time.monotonic()
        unseen = not set(kinds) <= set(means) and said > 0
        return f", about {duration(said if unseen else seconds)} left"


def reached(folder: Path) -> str:
    """Return "step 348 of 600 (checkpoint)" of a training that began, "" where none did.

    The step is that of the log or of the checkpoint, whichever came last; a checkpoint of an
    earlier step is named. Without a checkpoint the number of steps is not known.
    """
    logged, (saved, steps) = _logged(folder / "log.csv"), _saved(folder / "last.pt")
    if not (logged or saved):
        return ""
    if not saved:
        return f"step {logged} (no checkpoint)"
    where = "checkpoint" if saved >= logged else f"checkpoint at {saved}"
    return f"step {max(saved, logged)} of {steps} ({where})"


def age(date: str) -> str:
    """Return "3 min" for a ``date`` of three minutes ago, "" for what is no date."""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(date)).total_seconds()
    except (ValueError, TypeError):
        return ""
    return duration(max(0.0, seconds))


def duration(seconds: float) -> str:
    """Return seconds in the smallest unit of which they are not too many: "80 s", "2 min"."""
    unit = next(
        (u for u, most in (("s", 90), ("min", 5400), ("h", 129600)) if seconds < most), "d"
    )
    return f"{seconds / UNITS[unit]:.{int(seconds < 10)}f} {unit}"


def _logged(path: Path) -> int:
    """The step of the last whole line of a training's log; 0 where there is none."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[1:-1]
        return int(lines[-1].partition(",")[0])
    except (OSError, ValueError, IndexError):
        return 0


def _saved(path: Path) -> tuple[int, int]:
    """The step of a checkpoint and of how many; zeros where there is none that can be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as file:
                found: Mapping[str, Any] = _Plain(file).load()
        return int(found["state"]["step"]), int(found["settings"]["steps"])
    except Exception:  # of a file that may hold anything
        return 0, 0


class _Plain(pickle.Unpickler):
    """Reads what a checkpoint holds beside tensors: None stands for each of these."""

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module in TENSORS:
            return lambda *_: None
        raise pickle.UnpicklingError(f"a checkpoint holds no {module}.{name}")

    def persistent_load(self, _: object) -> None:
        return None
