"""Checkpoints that are never half written, and what is said about those that do not fit."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from invconv.files import replacing


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or is not of what it is asked to restore."""


def save_atomically(value: Any, path: Path) -> None:
    """``torch.save`` to ``path``; should the process die, the old file is there or the new one."""
    with replacing(path) as file:
        torch.save(value, file)


def read_checkpoint(path: Path, *keys: str) -> dict[str, Any]:
    """The dictionary at ``path``, on the CPU; tensors and plain values only, nothing executed.

    Raises:
        CheckpointError: if it cannot be read or lacks one of ``keys``.
    """
    try:
        saved = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        pickle.UnpicklingError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path} is not a whole checkpoint ({reason}): remove it to start anew"
        ) from error
    missing = [key for key in keys if not isinstance(saved, Mapping) or key not in saved]
    if missing:
        raise CheckpointError(f"{path} is not a checkpoint of this kind: it has no {missing[0]!r}")
    return saved


def load_weights(module: nn.Module, weights: Mapping[str, Any], origin: str) -> None:
    """``module.load_state_dict``, with one sentence where the architecture is another.

    Raises:
        CheckpointError: naming the first entry that is missing, unknown or of another shape;
            nothing is loaded then.
    """
    wanted = module.state_dict()
    for name, value in wanted.items():
        if name not in weights:
            raise CheckpointError(f"{origin} is of another architecture: it has no {name!r}")
        shape = tuple(weights[name].shape)
        if shape != tuple(value.shape):
            raise CheckpointError(
                f"{origin} is of another architecture: its {name!r} has shape {shape}, "
                f"not {tuple(value.shape)}"
            )
    unknown = [name for name in weights if name not in wanted]
    if unknown:
        raise CheckpointError(
            f"{origin} is of another architecture: {unknown[0]!r} has no place in this one"
        )
    module.load_state_dict(weights)


def check_settings(saved: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Refuses to go on from a checkpoint that was made with other settings.

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
            f"{path} was made with other settings: {different}; remove it to start anew"
        )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """One level of names with dots; lists and tuples are the same."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return flat
