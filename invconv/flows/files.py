"""Checkpoints that are never half written, and what is said about those that do not fit."""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invconv.files import brief, replacing

PLAIN = (bool, int, float, str, type(None))


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or is not of what it is asked to restore."""


def save_atomically(value: object, path: Path) -> None:
    """``torch.save`` to ``path``; should the process die, the old file is there or the new one."""
    with replacing(path) as file:
        torch.save(value, file)


def read_checkpoint(path: Path, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """The dictionary at ``path``, on the CPU; tensors and plain values only, nothing executed.

    Args:
        path: a file that `save_atomically` wrote; its checksums are compared, which `torch.load`
            does not do.
        kinds: name of an entry → its type; of a `dict` only names and plain values are taken.

    Raises:
        CheckpointError: if it cannot be read, was damaged, or has no such entries.
    """
    if not path.is_file():
        what = "is no file" if path.exists() else "does not exist"
        raise CheckpointError(f"there is no checkpoint {path}: it {what}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            saved = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a whole checkpoint ({brief(error)}): delete it to start over"
        ) from error
    for key, kind in kinds.items():
        if not isinstance(saved, Mapping) or key not in saved:
            raise CheckpointError(f"{path} is not a checkpoint of this kind: it has no {key!r}")
        value = saved[key]
        if not isinstance(value, kind) or (kind is dict and not is_plain(value)):
            raise CheckpointError(
                f"{path} is not a checkpoint of this kind: its {key!r} holds what it cannot hold"
            )
    return dict(saved)


def is_plain(value: object) -> bool:
    """Whether a value is made of dictionaries, lists, tuples, texts, numbers and None alone."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return isinstance(value, PLAIN)


def load_weights(module: nn.Module, weights: Mapping[str, object], origin: str) -> None:
    """``module.load_state_dict``, with one sentence where the architecture is another.

    Raises:
        CheckpointError: as `check_weights`; nothing is loaded then.
    """
    check_weights(module, weights, origin)
    module.load_state_dict(weights)


def check_weights(module: nn.Module, weights: Mapping[str, object], origin: str) -> None:
    """Refuses weights that ``module`` cannot load, or could but not compute with.

    Raises:
        CheckpointError: naming the first entry that is missing, unknown, of another shape or
            kind, or not finite.
    """
    wanted = module.state_dict()
    for name, value in wanted.items():
        if name not in weights:
            raise CheckpointError(f"{origin} is of another architecture: it has no {name!r}")
        found = weights[name]
        if not isinstance(found, Tensor) or found.layout is not torch.strided:
            raise CheckpointError(f"{origin} is not a checkpoint: its {name!r} is no tensor")
        if found.shape != value.shape:
            raise CheckpointError(
                f"{origin} is of another architecture: its {name!r} has shape "
                f"{tuple(found.shape)}, not {tuple(value.shape)}"
            )
        if found.is_floating_point() != value.is_floating_point() or found.is_complex():
            raise CheckpointError(
                f"{origin} is of another architecture: its {name!r} is {found.dtype}, "
                f"not {value.dtype}"
            )
        if not torch.isfinite(found).all():
            raise CheckpointError(f"{origin} cannot be used: its {name!r} holds NaN or infinity")
    unknown = [name for name in weights if name not in wanted]
    if unknown:
        raise CheckpointError(
            f"{origin} is of another architecture: {unknown[0]!r} has no place in this one"
        )
