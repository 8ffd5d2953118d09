"""Whether a checkpoint fits the training that wants to resume from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from invconv.flows.files import CheckpointError


def check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError if what an optimizer keeps of a parameter has another shape than it."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if name != "step" and value.shape != parameter.shape:
                raise ValueError(f"its {name} has shape {tuple(value.shape)}")


def check_settings(saved: Mapping[str, object], wanted: Mapping[str, object], path: Path) -> None:
    """Refuses to resume from a checkpoint that was made with other settings.

    Raises:
        CheckpointError: naming the settings that differ.
    """
    there, here = _flat(saved), _flat(wanted)
    names = [name for name in there | here if there.get(name) != here.get(name)]
    if names:
        different = ", ".join(
            f"{n} is {there.get(n)!r} there, {here.get(n)!r} here" for n in names
        )
        raise CheckpointError(
            f"{path} was made with other settings: {different}; delete it to start over"
        )


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, Any]:
    """One level of names with dots; lists and tuples are the same."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return flat
