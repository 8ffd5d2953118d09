"""Table 2 of the FInC Flow paper: bits per dimension, forward time and sampling time.

    python reproductions/table2.py -m                        every method on the embedded data
    python reproductions/table2.py -m method=finc dataset=digits
    python reproductions/table2.py -m preset=embedded_long   several seeds, thousands of steps
    python reproductions/table2.py -m preset=paper_timing    FT and ST at the published sizes
    python reproductions/table2.py -m launch=slurm           every cell a job, see slurm/
    torchrun --nproc-per-node=8 reproductions/table2.py preset=paper dataset=cifar10 method=finc

A finished cell is skipped (``force=true`` measures it again). The rows go to
``results/data/table2.csv``, the page made from them is ``results/table2.md``.
"""

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from torch import Tensor

from invconv import InvertibleConv
from invconv.bench import time_flow
from invconv.bench.counting import count_flow_parameters
from invconv.bench.flow_timing import prove_round_trip
from invconv.data import EMBEDDED, SPLITS, ImageSet, histogram_bits_per_dim, load
from invconv.data import label as data_label
from invconv.data.presets import PRESETS
from invconv.flows import LevelFlow
from invconv.report import table2
from invconv.sweeps.config import Method, Sweep
from invconv.sweeps.running import run_config, run_sweep
from invconv.sweeps.sweep import Application, pick_device
from invconv.training import TrainingOptions, build_flow, train
from invconv.training.distributed import ALONE, World, local_device, process_group
from invconv.training.evaluation import bits_per_image


@dataclass
class Dataset:
    """What `invconv.data.load` takes."""

    name: str = MISSING
    root: str | None = None
    path: str | None = None
    version: int | None = None
    size: int | None = None
    bits: int | None = None
    levels: int | None = None


@dataclass
class Budget:
    """The model's size, L levels of K steps, and its training."""

    levels: int = MISSING
    steps: int = MISSING
    width: int = MISSING
    training: TrainingOptions = MISSING


@dataclass
class Likelihood:
    """From integers to real numbers: see `invconv.flows.LevelFlow`."""

    dequantization: str = "uniform"
    preprocessing: str = "logit"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Timing:
    """How the passes are timed; not at all with ``repeats`` 0: such cells may run side by side."""

    images: int = 100
    warmup: int = 2
    repeats: int = 20


@dataclass
class Table2(Sweep):
    """One cell, and where its results go.

    Not ``trained``: random weights and images, for FT and ST alone.
    """

    method: Method = field(default_factory=Method)
    dataset: Dataset = field(default_factory=Dataset)
    budget: Budget = field(default_factory=Budget)
    likelihood: Likelihood = field(default_factory=Likelihood)
    timing: Timing = field(default_factory=Timing)
    preset: str = MISSING
    trained: bool = True
    seed: int = 0
    device: str = "auto"
    progress: bool = True
    pictures: bool = True


INITIAL_IMAGES = 16
NORMAL = 1.96
"""Standard errors to each side in a 95 % interval."""

ConfigStore.instance().store(name="table2_schema", node=Table2)


def data_name(config: DictConfig) -> str:
    """What the data set is called in rows and names."""
    asked = config.dataset
    return data_label(asked.name, asked.version, asked.bits, asked.path)


def label(config: DictConfig) -> str:
    """The readable part of the cell's name."""
    return f"{config.preset}-{data_name(config)}-{config.method.name}-s{config.seed}"


def measure(
    config: DictConfig, device: torch.device, folder: Path, world: World = ALONE
) -> dict[str, Any]:
    """Trains, evaluates, proves the round trip and times one cell; only rank 0 does the latter."""
    if not config.trained:
        return {} if world.rank else measure_untrained(config, device)
    chosen = {name: value for name, value in config.dataset.items() if value is not None}
    root = chosen.pop("root", None)
    train_data, valid_data, test_data = (
        load(split=split, root=root, **chosen) for split in SPLITS
    )
    architecture = describe_flow(config, train_data)
    recipe = {
        "flow": architecture,
        "data": chosen,
        "method": config.method.name,
        "seed": config.seed,
    }
    torch.manual_seed(config.seed)
    flow = build_flow(architecture).to(device)
    options: TrainingOptions = OmegaConf.to_object(config.budget.training)  # type: ignore[assignment]
    state = train(
        flow,
        train_data,
        valid_data,
        options,
        config.seed,
        folder,
        progress=config.progress,
        recipe=recipe,
        world=world,
    )
    bits = bits_per_image(flow, test_data, world=world)
    if world.rank:
        return {}
    if config.pictures:
        from invconv.pictures import write_pictures  # matplotlib, which not every job needs

        write_pictures(flow, test_data.images, folder, config.seed)
    timing = config.timing
    images = test_data.images[: timing.images].to(device)
    return {
        "bpd": bits.mean().item(),
        "bpd_interval": NORMAL * bits.std().item() / math.sqrt(len(bits)),
        "valid_bpd": state.best_valid_bpd,
        "histogram_bpd": histogram_bits_per_dim(train_data, test_data),
        **facts(flow, images),
        **(
            time_flow(
                flow,
                images,
                timing.warmup,
                timing.repeats,
                published=timing.repeats,
            )
            if timing.repeats
            else prove_round_trip(flow, images)
        ),
    }


def measure_untrained(config: DictConfig, device: torch.device) -> dict[str, Any]:
    """Times the flow as initialised, on random images of the data set's shape; needs no data."""
    name, timing = config.dataset.name, config.timing
    if name in EMBEDDED:
        embedded = load(name, "test")
        shape, levels = embedded.shape, embedded.levels
    else:
        shape, levels = PRESETS[data_label(name, config.dataset.version)].shape, 256
    torch.manual_seed(config.seed)
    count = max(INITIAL_IMAGES, timing.images)
    data = ImageSet(name, "random", torch.randint(levels, (count, *shape)).byte(), levels)
    flow = build_flow(describe_flow(config, data)).to(device)
    flow.initialize(data.images[:INITIAL_IMAGES].to(device))
    images = data.images[: timing.images].to(device)
    return {
        **facts(flow, images),
        **time_flow(flow, images, timing.warmup, timing.repeats, training=False, published=1),
    }


def describe_flow(config: DictConfig, data: ImageSet) -> dict[str, Any]:
    """The arguments of `build_flow`."""
    budget, likelihood = config.budget, config.likelihood
    return {
        "kind": "multiscale",
        "conv": config.method.conv,
        "shape": data.shape,
        "levels": budget.levels,
        "steps": budget.steps,
        "width": budget.width,
        "conv_options": OmegaConf.to_container(config.method.options),
        "bins": data.levels,
        "step": config.method.step,
        "dequantization": likelihood.dequantization,
        "preprocessing": likelihood.preprocessing,
        "dequantization_options": OmegaConf.to_container(likelihood.options),
    }


def facts(flow: LevelFlow, images: Tensor) -> dict[str, Any]:
    """What of a flow is counted."""
    convs = [part for part in flow.modules() if isinstance(part, InvertibleConv)]
    solvers = {conv.solver(images.device) for conv in convs}
    stored, free = count_flow_parameters(flow, images[:2])
    return {
        "dequantization": flow.dequantization_name,
        "parameters": stored,
        "free_parameters": free,
        "solver": ", ".join(sorted(solvers - {""})),
    }


def summary(values: dict[str, Any]) -> str:
    """A cell's values on the terminal."""
    parts = [f"bpd {values['bpd']:.3f}"] if "bpd" in values else []
    if "ft_s" in values:
        times = f"FT {values['ft_s']:.4f} s, ST {values['st_s']:.4f} s"
        parts.append(f"{times} ({values['timed_images']} images)")
    return ", ".join(parts)


def draw_losses(config: DictConfig) -> None:
    """Draws the curves of every cell of the preset that has begun, beside the cells."""
    from invconv.report.curves import loss_curves  # matplotlib, as above

    runs = Path(config.runs)
    folders = sorted(log.parent for log in runs.glob(f"{config.preset}-*/log.csv"))
    loss_curves(folders, runs / f"loss-{config.preset}.svg")


@hydra.main(version_base="1.3", config_path="conf", config_name="table2")
def main(config: DictConfig) -> None:
    """One cell of the sweep."""
    device = local_device(pick_device(config.device))
    labels = {
        "preset": config.preset,
        "dataset": data_name(config),
        "method": config.method.name,
        "seed": config.seed,
    }
    with process_group(device) as processes:
        begun = False

        def together(folder: Path) -> dict[str, Any]:
            nonlocal begun
            begun = bool(processes.broadcast(str(folder)))
            return measure(config, device, folder, processes)

        if processes.rank == 0:
            run_config(APPLICATION, config, labels, device, together, summary)
            if not begun:
                processes.broadcast("")
            elif config.pictures:
                draw_losses(config)
        else:
            folder = processes.broadcast("")
            if folder:
                measure(config, device, Path(folder), processes)


APPLICATION = Application(
    "table2", main, label, table2.write_page, times=lambda config: config.timing.repeats > 0
)

if __name__ == "__main__":
    sys.exit(run_sweep(APPLICATION))
