"""Table 2 of the FInC Flow paper: bits per dimension, forward time and sampling time."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import MISSING
from torch import Tensor

from invconv import InvertibleConv
from invconv.bench import time_flow
from invconv.bench.counting import count_flow_parameters
from invconv.bench.flow_timing import verify_round_trip
from invconv.data import SPLITS, ImageSet, data_set, histogram_bits_per_dim, load
from invconv.data import label as data_label
from invconv.flows import LevelFlow
from invconv.report import Plot
from invconv.report.grids import swept
from invconv.rows import Values
from invconv.rows.columns import FLOW, Bits, Number, Seconds
from invconv.sweeps.config import IDENTITY, Method, Preset, Sweep, aside, neutral
from invconv.tables.table import Table
from invconv.tables.table2_page import EMBEDDED, PAPER, TIMES, page, shown, timed
from invconv.training import TrainingOptions, build_flow, train
from invconv.training.distributed import current
from invconv.training.evaluation import bits_per_image

INITIAL_IMAGES = 16
NORMAL = 1.96
"""Standard errors to each side in a 95 % interval."""


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

    @property
    def label(self) -> str:
        """What the data set is called in rows and names."""
        return data_label(self.name, self.version, self.bits, self.path)


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
    """One cell.

    Not ``trained``: random weights and images, for FT and ST alone.
    """

    method: Method = field(default_factory=Method)
    dataset: Dataset = field(default_factory=Dataset)
    budget: Budget = field(default_factory=Budget)
    likelihood: Likelihood = field(default_factory=Likelihood, metadata={IDENTITY: "neutral"})
    timing: Timing = field(default_factory=Timing)
    trained: bool = neutral(True)
    seed: int = 0
    progress: bool = aside(True)
    pictures: bool = aside(True)


def measure(config: Table2, device: torch.device, folder: Path) -> Values:
    """Train, evaluate, verify the round trip and time; only rank 0 does the last two."""
    world, timing, seed = current(), config.timing, config.seed
    if not config.trained:
        return {} if world.rank else measure_untrained(config, device)
    chosen = {name: value for name, value in vars(config.dataset).items() if value is not None}
    root = chosen.pop("root", None)
    train_data, valid_data, test_data = (load(split=s, root=root, **chosen) for s in SPLITS)
    architecture = describe_flow(config, train_data)
    recipe = {"flow": architecture, "data": chosen, "method": config.method.name, "seed": seed}
    torch.manual_seed(seed)
    flow = build_flow(architecture).to(device)
    options, shows = config.budget.training, config.progress
    state = train(flow, train_data, valid_data, options, seed, folder, shows, recipe, world)
    bits = bits_per_image(flow, test_data, world=world)
    if world.rank:
        return {}
    if config.pictures:
        from invconv.pictures import write_pictures  # matplotlib, which not every job needs

        write_pictures(flow, test_data.images, folder, seed)
    values: Values = {
        "bpd": bits.mean().item(),
        "bpd_interval": NORMAL * bits.std().item() / math.sqrt(len(bits)),
        "valid_bpd": state.best_valid_bpd,
        "histogram_bpd": histogram_bits_per_dim(train_data, test_data),
    }
    images = test_data.images[: timing.images].to(device)
    return values | facts(flow, images, timing, training=True)


def measure_untrained(config: Table2, device: torch.device) -> Values:
    """Time the flow as initialized, on random images of the data set's shape; needs no data."""
    known, timing = data_set(config.dataset.name), config.timing
    if known.shape is None or known.levels is None:
        raise ValueError(f"trained=false needs a known shape, which {known.name} has not")
    torch.manual_seed(config.seed)
    size = (max(INITIAL_IMAGES, timing.images), *known.shape)
    images = torch.randint(known.levels, size).byte()
    data = ImageSet(known.name, "random", images, known.levels)
    flow = build_flow(describe_flow(config, data)).to(device)
    images = images.to(device)
    flow.initialize(images[:INITIAL_IMAGES])
    return facts(flow, images[: timing.images], timing, training=False)


def describe_flow(config: Table2, data: ImageSet) -> dict[str, object]:
    """Return the arguments of `build_flow`."""
    method, budget, likelihood = config.method, config.budget, config.likelihood
    return {
        "kind": "multiscale",
        "shape": data.shape,
        "bins": data.levels,
        "dequantization": likelihood.dequantization,
        "dequantization_options": likelihood.options,
        "preprocessing": likelihood.preprocessing,
        **{"conv": method.conv, "conv_options": method.options, "step": method.step},
        **{"levels": budget.levels, "steps": budget.steps, "width": budget.width},
    }


def facts(flow: LevelFlow, images: Tensor, timing: Timing, training: bool) -> Values:
    """Count what a flow has, verify its round trip, and time it unless ``timing`` says not to."""
    convs = [part for part in flow.modules() if isinstance(part, InvertibleConv)]
    solvers = {conv.solver(images.device) for conv in convs}
    stored, free = count_flow_parameters(flow, images[:2])
    values: Values = {
        "dequantization": flow.dequantization_name,
        "parameters": stored,
        "free_parameters": free,
        "solver": ", ".join(sorted(solvers - {""})),
    }
    if not timing.repeats:
        return values | verify_round_trip(flow, images)
    published = timing.repeats if training else 1
    return values | time_flow(flow, images, timing.warmup, timing.repeats, training, published)


def draw_losses(config: Table2) -> None:
    """Draw the curves of every cell of the preset that has begun, beside the cells."""
    if config.pictures:
        from invconv.curves import loss_curves  # matplotlib, as above

        runs = Path(config.runs)
        folders = sorted(log.parent for log in runs.glob(f"{config.preset}-*/log.csv"))
        loss_curves(folders, runs / f"loss-{config.preset}.svg")


SWEEP = {"dataset": ",".join(EMBEDDED), "method": ",".join(swept()), "seed": "'0'"}
OF_PAPER = SWEEP | {"dataset": ",".join(PAPER)}
TABLE = Table(
    name="table2",
    title="Table 2: bits per dimension, forward time and sampling time",
    config=Table2,
    measure=measure,
    cell="{preset}-{dataset.label}-{method.name}-s{seed}",
    labels={
        "preset": "preset",
        "dataset": "dataset.label",
        "method": "method.name",
        "seed": "seed",
    },
    columns=(
        Bits("bpd bpd_interval valid_bpd histogram_bpd"),
        Seconds("ft st st_published train_step"),
        Number("free_parameters *extra_bytes"),
        *FLOW,
    ),
    presets={
        # one seed and few steps: its bits per dimension rank nothing
        "default": Preset(sweep=SWEEP, minutes=20),
        "tiny": Preset(
            {"pictures": False, "timing": {"images": 10, "repeats": 2, "warmup": 1}},
            SWEEP,
            minutes=1,
        ),
        # nothing is timed, so that cells may run side by side, with OMP_NUM_THREADS=1
        "embedded_long": Preset(
            {"timing": {"repeats": 0}}, SWEEP | {"seed": "0,1,2,3,4"}, minutes=600
        ),
        # days on a GPU; further models of the paper: budget=paper_cifar10_k28 and so on
        "paper": Preset(sweep=OF_PAPER),
        # random weights and images: half a minute (mnist) to ten minutes (imagenet64) per cell
        "paper_timing": Preset(
            {"trained": False, "pictures": False, "timing": {"warmup": 1, "repeats": 3}},
            OF_PAPER | {"method": ",".join(timed())},
            minutes=90,
        ),
    },
    choices={"method": "glow", "dataset": "digits"},
    times=lambda config: config.timing.repeats > 0,
    headline="bpd ft_s st_s timed_images",
    after=draw_losses,
    page=page,
    plots=(
        Plot(
            title="{column}, {dataset}",
            columns={"bpd": "bits per dimension", **TIMES},
            order=shown(),
            apart=("preset", "seed"),
        ),
    ),
    order=2,
)
