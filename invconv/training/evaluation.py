"""Bits per dimension of a flow, and of flows that were trained before."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invconv.about import Options
from invconv.data import ImageSet, label, load
from invconv.files import brief
from invconv.flows import CouplingFreeFlow, LevelFlow, MaCowFG, MultiScaleFlow
from invconv.seeds import hashed
from invconv.training.checkpoint import (
    CheckpointError,
    check_weights,
    load_weights,
    read_checkpoint,
)
from invconv.training.distributed import ALONE, World
from invconv.validation import check_choice, check_count

FLOWS: dict[str, type[LevelFlow]] = {
    "multiscale": MultiScaleFlow,
    "macow_fg": MaCowFG,
    "coupling_free": CouplingFreeFlow,
}


NAMING = ("bits", "path", "size", "pixels")
"""Options of the data that its name tells, beside the version."""
DRAWS = 16
"""Draws of noise for figures that are compared: the mean over a test set of one draw alone has a
standard deviation as large as that over seeds."""


def bits_per_image(
    flow: LevelFlow,
    data: ImageSet,
    batch_size: int = 250,
    seed: int = 0,
    world: World = ALONE,
    samples: int = 1,
    draws: int = 1,
) -> Tensor:
    """Return the bits per dimension of each image of ``data``, float64 (N,), on the CPU.

    The mean of `bits_per_draw` over the draws.
    """
    return bits_per_draw(flow, data, batch_size, seed, world, samples, draws).mean(0)


@torch.no_grad()
def bits_per_draw(
    flow: LevelFlow,
    data: ImageSet,
    batch_size: int = 250,
    seed: int = 0,
    world: World = ALONE,
    samples: int = 1,
    draws: int = DRAWS,
) -> Tensor:
    """Return the bits per dimension of each image, for each draw of dequantization noise.

    The noise is a function of seed, draw and batch alone: it is the same for all flows with the
    same kind of dequantization, and a second call returns the same values.

    Args:
        flow: in any mode, which is left as it was.
        data: one split, of N images.
        batch_size: images at a time.
        seed: of the noise.
        world: with several processes each takes every ``world.size``-th batch, and all get the
            whole result.
        samples: noise vectors per image and draw; more than one give the importance-weighted
            bound.
        draws: D.

    Returns:
        float64 (D, N), on the CPU.

    Raises:
        ValueError: if flow and data differ in shape or number of levels, or batch_size or draws
            is below 1.
    """
    if (flow.shape, flow.dequantization.bins) != (data.shape, data.levels):
        raise ValueError(
            f"the flow is made for {_described(flow.shape, flow.dequantization.bins)}, "
            f"{data.name} holds {_described(data.shape, data.levels)}"
        )
    check_count(batch_size, "batch_size")
    check_count(draws, "draws")
    device = next(flow.parameters()).device
    generator = torch.Generator(device)
    was_training = flow.training
    flow.eval()
    bits = torch.zeros(draws, len(data), dtype=torch.float64, device=device)
    starts = range(0, len(data), batch_size)
    try:
        for start in starts[world.rank :: world.size]:
            chosen = slice(start, start + batch_size)
            images = data.images[chosen].to(device)
            for draw in range(draws):
                generator.manual_seed(hashed(seed, draw, start))
                found = flow.bits_per_dim(images, generator, samples)
                bits[draw, chosen] = found.double()
    finally:
        flow.train(was_training)
    return world.total(bits).cpu()


def evaluate(
    flow: LevelFlow, data: ImageSet, batch_size: int = 250, world: World = ALONE
) -> float:
    """Return the mean of `bits_per_image` with one draw of noise."""
    return bits_per_image(flow, data, batch_size, world=world).mean().item()


def _described(shape: tuple[int, int, int], levels: int) -> str:
    return f"{'×'.join(map(str, shape))} images with {levels} levels"


def build_flow(arguments: Options) -> LevelFlow:
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
    saved = read_checkpoint(path, flow=Mapping, recipe=dict)
    recipe = saved["recipe"]
    if "flow" not in recipe:
        raise CheckpointError(f"{path} does not say of which architecture its weights are")
    best = saved.get("best", {})
    if not isinstance(best, Mapping):
        raise CheckpointError(f"{path} is not a checkpoint of this kind: its 'best' is no mapping")
    weights = best or saved["flow"]
    try:
        flow = _built(recipe["flow"], weights, str(path))
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"the architecture that {path} names cannot be built ({brief(error)})"
        ) from error
    load_weights(flow, weights, str(path))
    return flow.to(device), recipe


def _built(architecture: Options, weights: Mapping[str, object], origin: str) -> LevelFlow:
    """The flow, first without memory: what a file says may be larger than what it holds."""
    if _steps(architecture) > len(weights):
        raise CheckpointError(f"{origin} names an architecture of more steps than it has weights")
    try:
        with torch.device("meta"):
            planned = build_flow(architecture)
    except NotImplementedError:  # a layer of the user's own whose construction needs values
        return build_flow(architecture)
    check_weights(planned, weights, origin)
    return build_flow(architecture)


def _steps(value: object, counts: bool = False) -> int:
    """The sum of all numbers below a name "steps"."""
    if isinstance(value, Mapping):
        return sum(_steps(part, counts or name == "steps") for name, part in value.items())
    if isinstance(value, list | tuple):
        return sum(_steps(part, counts) for part in value)
    return max(value, 0) if counts and isinstance(value, int) else 0


@dataclass(frozen=True)
class Assessment:
    """What the weights of one checkpoint are worth.

    Attributes:
        path: the checkpoint.
        method, seed: of the training.
        setting: the rest of its recipe; checkpoints that differ only in seed share it.
        data, split: what it was evaluated on.
        dequantization, samples: the noise, and how many draws of it per image.
        bits: bits per dimension of each image, float64 (N,).
        path_of_data: of images of one's own, whose name is the last part of their path.
    """

    path: Path
    method: str
    seed: int
    setting: str
    data: str
    split: str
    dequantization: str
    samples: int
    bits: Tensor
    path_of_data: str = ""


def assess(
    path: Path,
    split: str = "test",
    samples: int = 1,
    batch_size: int = 250,
    seed: int = 0,
    device: torch.device | str = "cpu",
    root: Path | None = None,
    draws: int = DRAWS,
) -> Assessment:
    """Evaluate the weights at ``path``, or those in ``path/best.pt``, on the data of its recipe.

    Args:
        path: a checkpoint or the folder of a cell.
        split, samples, batch_size, seed, draws: as in `bits_per_draw`.
        device: where to compute.
        root: where the data are looked for.

    Raises:
        CheckpointError: if it is broken.
    """
    path = path / "best.pt" if path.is_dir() else path
    flow, recipe = load_flow(path, device)
    kinds: dict[str, type] = {"data": dict, "method": str, "seed": int}
    wrong = [name for name, kind in kinds.items() if not isinstance(recipe.get(name), kind)]
    if wrong:
        raise CheckpointError(f"{path} does not say of which {wrong[0]} it is")
    try:
        data = load(split=split, root=root, **recipe["data"])
        bits = bits_per_image(flow, data, batch_size, seed, samples=samples, draws=draws)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be evaluated: {brief(error)}") from error
    setting = {key: value for key, value in recipe.items() if key not in ("seed", "method")}
    return Assessment(
        path=path,
        method=recipe["method"],
        seed=recipe["seed"],
        setting=json.dumps(setting, sort_keys=True),
        data=label(data.name, data.version, *map(recipe["data"].get, NAMING)),
        split=split,
        dequantization=recipe["flow"].get("dequantization", "uniform"),
        samples=samples,
        bits=bits,
        path_of_data=str(recipe["data"].get("path") or ""),
    )
