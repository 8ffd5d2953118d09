"""Arrays that the authors' own code made; see tests/data/README.md."""

from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / "data"


def recorded(name: str) -> dict[str, torch.Tensor]:
    """The arrays of one file, by name."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def largest_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest |a − b|."""
    return (a - b).abs().max().item()
