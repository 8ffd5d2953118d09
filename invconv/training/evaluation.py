"""Bits per dimension of a flow, and of flows that were trained before."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invconv.data import ImageSet
from invconv.flows import LevelFlow, MaCowFG, MultiScaleFlow
from invconv.training.checkpoint import CheckpointError, load_weights, read_checkpoint
from invconv.training.distributed import ALONE, World
from invconv.validation import check_choice

FLOWS: dict[str, type[LevelFlow]] = {"multiscale": MultiScaleFlow, "macow_fg": MaCowFG}


@torch.no_grad()
def bits_per_image(
    flow: LevelFlow, data: ImageSet, batch_size: int = 250, seed: int = 0, world: World = ALONE
) -> Tensor:
    """Bits per dimension of each image of ``data``, float64 (N,), on the CPU.

    One draw of dequantisation noise, seeded. With several processes each takes every
    ``world.size``-th batch, and all get the whole result.
    """
    device = next(flow.parameters()).device
    generator = torch.Generator(device).manual_seed(seed + world.rank)
    was_training = flow.training
    flow.eval()
    bits = torch.zeros(len(data), dtype=torch.float64, device=device)
    starts = range(0, len(data), batch_size)
    for start in starts[world.rank :: world.size]:
        chosen = slice(start, start + batch_size)
        images = data.images[chosen].to(device)
        bits[chosen] = flow.bits_per_dim(images, generator).double()
    flow.train(was_training)
    return world.total(bits).cpu()


def evaluate(
    flow: LevelFlow, data: ImageSet, batch_size: int = 250, seed: int = 0, world: World = ALONE
) -> float:
    """The mean of `bits_per_image`."""
    return bits_per_image(flow, data, batch_size, seed, world).mean().item()


def build_flow(arguments: Mapping[str, Any]) -> LevelFlow:
    """A flow from plain values: ``kind``, a name in `FLOWS`, and its constructor's arguments."""
    kept = dict(arguments)
    kind = check_choice(kept.pop("kind"), FLOWS, "kind of flow")
    return FLOWS[kind](**kept)


def load_flow(path: Path, device: torch.device | str = "cpu") -> tuple[LevelFlow, dict[str, Any]]:
    """The flow whose weights are at ``path``, and the recipe by which it was trained.

    Args:
        path: a ``best.pt`` or ``last.pt`` of `invconv.training.train`; of the latter the best
            validated weights are taken.
        device: where the flow shall be.

    Raises:
        CheckpointError: if the file is broken or says nothing about its architecture.
    """
    saved = read_checkpoint(path, "flow", "recipe")
    recipe = saved["recipe"]
    if "flow" not in recipe:
        raise CheckpointError(f"{path} does not say of which architecture its weights are")
    flow = build_flow(recipe["flow"])
    load_weights(flow, saved.get("best") or saved["flow"], str(path))
    return flow.to(device), recipe
