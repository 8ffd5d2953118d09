"""A cell that trains one flow: what it is asked, and what its row holds."""

from dataclasses import dataclass, field
from math import log2
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING
from torch import Tensor

from invconv.bench.counting import convolutions, count_flow_parameters
from invconv.bench.flow_timing import VERIFIED
from invconv.bench.verification import verify_round_trip
from invconv.conv import Shape
from invconv.data import DATASETS, SPLITS, check_disjoint, histogram_bits_per_dim, load
from invconv.data import label as data_label
from invconv.files import user_path
from invconv.flows import LevelFlow, build_flow
from invconv.flows.published import net
from invconv.methods import Method
from invconv.report.comparison import reach_over_images
from invconv.rows import Values
from invconv.rows.bits import write_bits
from invconv.rows.columns import Bits, Column, Number
from invconv.sweeps.config import IDENTITY, ChosenMethod, Sweep, aside, neutral
from invconv.tables.convergence import COLUMN, Convergence
from invconv.training import TrainingOptions, train
from invconv.training.distributed import current
from invconv.training.evaluation import DRAWS, bits_per_draw

LABELS = {
    "preset": "preset",
    "dataset": "dataset.label",
    "method": "method.name",
    "seed": "seed",
}
"""By which a reader finds the row of a training."""
TRAINED: tuple[Column, ...] = (
    Bits("bpd bpd_interval bpd_draws_sd valid_bpd histogram_bpd histogram_all_bpd"),
    Number("free_parameters noise_draws best_step epochs above_uniform"),
    COLUMN,
)
"""What rows of trained flows hold."""


@dataclass
class Dataset:
    """What `invconv.data.load` takes."""

    name: str = MISSING
    root: str | None = aside(None)
    path: str | None = neutral(None)
    version: int | None = neutral(None)
    size: int | None = neutral(None)
    bits: int | None = neutral(None)
    levels: int | None = neutral(None)
    pixels: str | None = neutral(None)

    @property
    def label(self) -> str:
        """What the data set is called in rows and names."""
        name = self.name, self.version, self.bits, self.path
        return data_label(*name, self.size, self.pixels)

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `invconv.data.load`, without the root."""
        return {k: v for k, v in vars(self).items() if v is not None and k != "root"}


@dataclass
class Likelihood:
    """From integers to real numbers: see `invconv.flows.LevelFlow`."""

    dequantization: str = "uniform"
    preprocessing: str = "logit"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Trained(Sweep):
    """The training of one method on one data set from one seed."""

    method: ChosenMethod = field(default_factory=ChosenMethod)
    dataset: Dataset = field(default_factory=Dataset)
    likelihood: Likelihood = field(default_factory=Likelihood, metadata={IDENTITY: "neutral"})
    seed: int = 0
    draws: int = neutral(DRAWS)
    """Of dequantization noise at evaluation."""
    progress: bool = aside(True)
    pictures: bool = aside(True)

    @property
    def options(self) -> TrainingOptions:
        """How the flow is trained."""
        raise NotImplementedError

    def check_paths(self) -> None:
        """Raise FileNotFoundError if the data are not below the folders that were given."""
        for name in ("root", "path"):
            given = getattr(self.dataset, name)
            if given is not None and not user_path(given).exists():
                raise FileNotFoundError(f"dataset.{name}={given}: there is no such folder")

    def flow(self, method: ChosenMethod | Method) -> dict[str, object]:
        """Return the arguments of `build_flow` that a data set does not decide."""
        raise NotImplementedError


@dataclass
class Budget:
    """The model's size, L levels of K steps, and its training."""

    levels: int = MISSING
    steps: int = MISSING
    width: int = MISSING
    training: TrainingOptions = MISSING


@dataclass
class MultiScale(Trained):
    """The training of a multi-scale flow around one method."""

    budget: Budget = field(default_factory=Budget)

    @property
    def options(self) -> TrainingOptions:
        """How the flow is trained."""
        return self.budget.training

    def flow(self, method: ChosenMethod | Method) -> dict[str, object]:
        """See `Trained.flow`."""
        budget = self.budget
        size = {"levels": budget.levels, "steps": budget.steps, "width": budget.width}
        if method.step == "net":
            return {"kind": method.conv, **net(self.dataset.name, **size)}
        return {"kind": "multiscale", "step": method.step, **size}


def describe_flow(
    config: Trained, method: ChosenMethod | Method, shape: Shape, levels: int
) -> dict[str, object]:
    """Return the arguments of `build_flow` for images of ``shape`` with ``levels`` values."""
    likelihood, conv = config.likelihood, {}
    if method.step != "net":
        conv = {"conv": method.conv, "conv_options": dict(method.options)}
    return {
        "shape": shape,
        "bins": levels,
        "dequantization": likelihood.dequantization,
        "dequantization_options": likelihood.options,
        "preprocessing": likelihood.preprocessing,
        **conv,
        **config.flow(method),
    }


def train_one(config: Trained, device: torch.device, folder: Path) -> Values:
    """Train, evaluate, and verify the round trip, of all processes only in rank 0."""
    world, seed = current(), config.seed
    chosen = config.dataset.options
    splits = [load(split=s, root=config.dataset.root, **chosen) for s in SPLITS]
    train_data, valid_data, test_data = splits
    check_disjoint(train_data, test_data, DATASETS[train_data.name].embedded)
    architecture = describe_flow(config, config.method, train_data.shape, train_data.levels)
    recipe = {"flow": architecture, "data": chosen, "method": config.method.name, "seed": seed}
    torch.manual_seed(seed)
    flow = build_flow(architecture).to(device)
    options, shows = config.options, config.progress
    watch = Convergence(flow, valid_data.images[:VERIFIED].to(device), options.steps, folder)
    shared = options, seed, folder, shows, recipe, world
    state = train(flow, train_data, valid_data, *shared, watch)
    bits = bits_per_draw(flow, test_data, world=world, draws=config.draws)
    if world.rank:
        return {}
    if config.pictures:
        from invconv.pictures import write_pictures  # matplotlib, which not every job needs

        write_pictures(flow, test_data.images, folder, seed)
    per_image = bits.mean(0)
    write_bits(per_image, folder)
    images = test_data.images[:VERIFIED].to(device)
    return {
        "bpd": per_image.mean().item(),
        "bpd_interval": reach_over_images(per_image.numpy()),
        "bpd_draws_sd": bits.mean(1).std().item() if len(bits) > 1 else None,
        "above_uniform": (per_image > log2(test_data.levels)).float().mean().item(),
        "noise_draws": len(bits),
        "valid_bpd": state.best_valid_bpd,
        "best_step": state.best_step,
        "epochs": round(options.steps * options.batch_size / len(train_data), 2),
        "histogram_bpd": histogram_bits_per_dim(train_data, test_data),
        "histogram_all_bpd": histogram_bits_per_dim(train_data, test_data, pooled=True),
        **facts(flow, images),
        **verify_round_trip(flow, images),
        **watch.values(),
    }


def facts(flow: LevelFlow, images: Tensor) -> Values:
    """Count what a flow has, and say which solvers it runs."""
    solvers = {conv.solver(images.device) for conv in convolutions(flow)}
    stored, free = count_flow_parameters(flow, images[:2])
    return {
        "dequantization": flow.dequantization_name,
        "parameters": stored,
        "free_parameters": free,
        "solver": ", ".join(sorted(solvers - {""})),
    }


def draw_losses(config: Trained) -> None:
    """Draw the curves of every cell of the preset that has begun, beside the cells."""
    if config.pictures:
        from invconv.curves import loss_curves  # matplotlib, as above

        runs = Path(config.runs)
        folders = sorted(log.parent for log in runs.glob(f"{config.preset}-*/log.csv"))
        loss_curves(folders, runs / f"loss-{config.preset}.svg")
