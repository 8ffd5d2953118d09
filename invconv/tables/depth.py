"""What deep flows lose in float32, against depth and training."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from invconv import TriangularConv
from invconv.bench.verification import round_trip_error
from invconv.data import DATASETS, SPLITS, ImageSet, load
from invconv.data.sets import ranked
from invconv.flows import LevelFlow, build_flow
from invconv.flows.published import FINC
from invconv.methods import methods
from invconv.numerical import relative_error
from invconv.rows import Values
from invconv.rows.columns import Error, Name, Number
from invconv.sweeps.config import Preset, neutral
from invconv.sweeps.groups import method_node
from invconv.tables.depth_page import STUDY, finding, page
from invconv.tables.table import Table
from invconv.tables.trained import TRAINED, MultiScale, describe_flow, facts
from invconv.training.distributed import ALONE
from invconv.training.evaluation import bits_per_draw
from invconv.training.run import Run

PROBES = (0, 10, 100, 300, 1000)
IMAGES = 16
SIZES = (8, 12, 16, 24, 32, 48, 64)
FAILING = ((0.8033, 0.1748, 0.089), (-0.6137, 0.0462, -1.3683))
"""The upper rows of a trained 3×3 kernel of Emerging whose inverse was reported to overflow
(github.com/ehoogeboom/emerging, issue 2). The center is 0.0462; what is after it is masked."""
VARIANTS: dict[str, dict[str, object]] = {
    "": {},
    "_fan_in": {"std": "fan_in"},
    "_bounded": {"max_growth": 4.0},
}
TRAINED_METHODS = ("finc", "emerging")
DEPTHS = (4, 8, 16, 32)
MODELS = ("cifar10", "imagenet32", "imagenet64")


@dataclass
class Depth(MultiScale):
    """One flow that is trained, one of a published size as initialized, or the failing weight."""

    part: str = neutral("train")
    variant: str = ""


def cases() -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every cell by name, and what its configuration then holds."""

    kinds = [(name, variant) for name in TRAINED_METHODS for variant in VARIANTS]
    for name, variant in [("glow", ""), *kinds]:
        chosen = {"method": method_node(methods()[name], VARIANTS[variant]), "variant": variant}
        for steps in DEPTHS:
            budget = {"levels": 2, "steps": steps, "width": 64}
            where = {"part": "train", "dataset": {"name": "fashion_mnist"}, "budget": budget}
            yield f"{name}{variant}_k{steps}", {**chosen, **where}
        for dataset in MODELS:
            levels, steps = FINC[dataset]
            # as initialized, a coupling is the identity however wide it is
            budget = {"levels": levels, "steps": steps, "width": 8}
            where = {"part": "published", "dataset": {"name": dataset}, "budget": budget}
            yield f"{name}{variant}_{dataset}", {**chosen, **where}
    yield (
        "failing_weight",
        {
            "part": "weight",
            "method": method_node(methods()["emerging"]),
            "dataset": {"name": "digits"},
            "budget": {"levels": 1, "steps": 1, "width": 1},
        },
    )


CASES = dict(cases())


def measure(config: Depth, device: torch.device, _: Path) -> Values:
    """Measure what a round trip loses, of a variant: None as released."""
    return {**_measured(config, device), "variant": config.variant or None}


def _measured(config: Depth, device: torch.device) -> Values:
    if config.part == "weight":
        return failing_weight()
    known = DATASETS[config.dataset.name]
    if config.part == "published":
        assert known.shape is not None and known.levels is not None
        torch.manual_seed(config.seed)
        images = torch.randint(known.levels, (IMAGES // 4, *known.shape)).byte().to(device)
        flow = _build(config, known.shape, known.levels, device)
        flow.initialize(images)
        return {**probe(flow, images, 0), **facts(flow, images)}
    train, _, test = (load(split=s, **config.dataset.options) for s in SPLITS)
    torch.manual_seed(config.seed)
    flow = _build(config, train.shape, train.levels, device)
    values = train_and_probe(flow, config, train, test.images[:IMAGES].to(device))
    bits = bits_per_draw(flow, test, draws=config.draws).mean(0)
    return {**values, "bpd": bits.mean().item(), "noise_draws": config.draws}


def _build(
    config: Depth, shape: tuple[int, int, int], levels: int, device: torch.device
) -> LevelFlow:
    return build_flow(describe_flow(config, config.method, shape, levels)).to(device)


def train_and_probe(flow: LevelFlow, config: Depth, train: ImageSet, images: Tensor) -> Values:
    """Train, and measure at each of `PROBES` that the training reaches."""
    run = Run(flow, config.options, config.seed, None, {}, ALONE)
    run.start(train)
    values: Values = facts(flow, images)
    batches = run.batches(train)
    for step in range(config.options.steps + 1):
        if step in PROBES or step == config.options.steps:
            values |= probe(flow, images, step)
        if step < config.options.steps:
            flow.train()
            run.step(next(batches), False)
            run.state.step += 1
    return values


@torch.no_grad()
def probe(flow: LevelFlow, images: Tensor, step: int) -> Values:
    """Return the relative errors of round trips from images and from latents.

    In float32 and float64; one that is not finite is replaced by infinity.
    """
    flow.eval()
    exact = copy.deepcopy(flow).double()
    values: Values = {}
    for name, one in (("float32", flow), ("float64", exact)):
        drawn = torch.Generator(images.device).manual_seed(0)
        latents = one.draw(len(images), 1.0, drawn)
        again = one.encode(one.decode(latents))[0]
        flat = [torch.cat([x.flatten(1) for x in group], 1) for group in (again, latents)]
        errors = {"images": round_trip_error(one, images), "latents": relative_error(*flat)}
        values |= {f"{what}_{name}_{step}": _or_infinity(e) for what, e in errors.items()}
    return values


def _or_infinity(error: float) -> float:
    """An error, infinity in place of NaN."""
    return error if error < float("inf") else float("inf")


@torch.no_grad()
def failing_weight() -> Values:
    """Return what the inverse of `FAILING` loses on images of each of `SIZES`."""
    values: Values = {}
    for dtype in (torch.float32, torch.float64):
        layer = TriangularConv(1, (2, 3), anchor=(1, 1), diagonal="learned").to(dtype)
        layer.weight[0, 0] = torch.tensor(FAILING, dtype=dtype)
        layer.weight[0, 0, 1, 1].log_()
        layer.sign.fill_(1.0)
        for n in SIZES:
            x = torch.randn(4, 1, n, n, dtype=dtype, generator=torch.Generator().manual_seed(0))
            error = relative_error(layer.inverse(layer(x)[0]), x)
            name = "float32" if dtype == torch.float32 else "float64"
            values[f"weight_{name}_n{n}"] = _or_infinity(error)
    return values


NONE = {"budget": {"training": {"steps": 1}}}
INITIALIZED = [name for name, case in CASES.items() if case["part"] != "train"]

TABLE = Table(
    name="depth",
    title="What do deep flows lose in float32?",
    config=Depth,
    measure=measure,
    cell="{preset}-{part}-{dataset.label}-{method.name}{variant}-k{budget.steps}",
    labels={
        "preset": "preset",
        "part": "part",
        "dataset": "dataset.label",
        "method": "method.name",
        "levels": "budget.levels",
        "steps": "budget.steps",
    },
    columns=(
        Error("images_float??_* latents_float??_* weight_float??_*", infinite=True),
        *TRAINED,
        Number("parameters"),
        Name("variant solver dequantization"),
    ),
    presets={
        "default": Preset(NONE, {"case": ",".join(INITIALIZED)}, minutes=5),
        "tiny": Preset(NONE, {"case": "failing_weight"}, minutes=1),
        "trained": Preset(
            {"budget": {"training": ranked(1000)["training"]}},
            {"case": ",".join(name for name in CASES if name not in INITIALIZED)},
            minutes=150,
        ),
    },
    choices={"case": "failing_weight"},
    groups={"case": CASES},
    times=lambda _: False,
    headline="latents_float32_1000 images_float32_0 weight_float32_n64",
    page=page,
    finding=finding,
    study=STUDY,
    order=7,
)
