"""What a training run leaves to read: `log.csv`, and TensorBoard's files where wanted."""

import csv
import io
from pathlib import Path

from invconv.files import write_atomically

COLUMNS = ("step", "train_bpd", "valid_bpd", "learning_rate", "grad_norm", "images_per_s")


class TrainingLog:
    """Append lines to ``folder/log.csv``, without those behind the step where a run resumes.

    Args:
        folder: the cell's; None for no log.
        step: where the run stands.
        tensorboard: whether to write TensorBoard's event files below ``folder``, too.
    """

    def __init__(self, folder: Path | None, step: int, tensorboard: bool) -> None:
        self.path = None if folder is None else folder / "log.csv"
        self.writer = None
        self._steps, self._sums = 0, [0.0] * 4
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in _read(self.path) if int(line["step"]) <= step]
        text = io.StringIO(newline="")
        lines = csv.DictWriter(text, COLUMNS)
        lines.writeheader()
        lines.writerows(kept)
        write_atomically(text.getvalue().encode(), self.path)
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ModuleNotFoundError(
                    'tensorboard: true needs a package more: pip install "invconv[tensorboard]"'
                ) from error
            self.writer = SummaryWriter(self.path.parent / "tensorboard", purge_step=step + 1)

    def count(self, bpd: float, norm: float, images: int, seconds: float) -> None:
        """Add one step to the means of the next line."""
        values = (bpd, norm, images, seconds)
        self._steps += 1
        self._sums = [total + value for total, value in zip(self._sums, values, strict=True)]

    def summary(self) -> dict[str, str]:
        """What the progress bar shows of the steps since the last line."""
        bpd, _, rate = self._means()
        return {"bpd": f"{bpd:.3f}", "images/s": f"{rate:.0f}"}

    def write(self, step: int, rate: float, valid_bpd: float | None) -> None:
        """One line about the steps since the last one; ``rate`` is the learning rate."""
        bpd, norm, images_per_s = self._means()
        self._steps, self._sums = 0, [0.0] * 4
        if self.path is None:
            return
        values = {
            "train_bpd": round(bpd, 5),
            "learning_rate": rate,
            "grad_norm": round(norm, 4),
            "images_per_s": round(images_per_s, 2),
        }
        if valid_bpd is not None:
            values["valid_bpd"] = round(valid_bpd, 6)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow({"step": step, **values})
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def _means(self) -> tuple[float, float, float]:
        bpd, norm, images, seconds = self._sums
        return bpd / self._steps, norm / self._steps, images / seconds

    def close(self) -> None:
        """Write out what TensorBoard's writer still holds."""
        if self.writer is not None:
            self.writer.close()


def _read(path: Path) -> list[dict[str, str]]:
    """The whole lines of a log; one that a killed process left half written is dropped."""
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = csv.DictReader(file)
            lines = [line for line in found if line.get("images_per_s") is not None]
        if lines and (found.fieldnames != list(COLUMNS) or any(None in line for line in lines)):
            raise ValueError("its columns are others")
        for line in lines:
            int(line["step"])
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(
            f"{path} is not the log of a training ({error}): delete it to begin a new one"
        ) from error
    return lines
