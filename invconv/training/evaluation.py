"""Bits per dimension of a flow, and of flows that were trained before."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from invconv.data import ImageSet, label, load
from invconv.files import brief
from invconv.flows import LevelFlow
from invconv.flows.files import CheckpointError
from invconv.flows.saving import load_with_recipe
from invconv.seeds import hashed
from invconv.training.distributed import ALONE, World
from invconv.validation import check_count

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


@dataclass(frozen=True)
class Evaluation:
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


def evaluate_checkpoint(
    path: Path,
    split: str = "test",
    samples: int = 1,
    batch_size: int = 250,
    seed: int = 0,
    device: torch.device | str = "cpu",
    root: Path | None = None,
    draws: int = DRAWS,
) -> Evaluation:
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
    flow, recipe = load_with_recipe(path, device)
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
    return Evaluation(
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
