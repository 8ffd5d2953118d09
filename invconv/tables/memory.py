"""Memory and time of a training step: activations kept, made by inverses, or by checkpointing."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from invconv.bench import Clock, Measured, Process, Ratio, time_block, time_calls
from invconv.bench.memory import allocator_peak
from invconv.bench.verification import verify_parts
from invconv.bijection import Bijection
from invconv.data import DATASETS
from invconv.flows import LevelFlow, build_flow
from invconv.methods import methods
from invconv.numerical import relative_error
from invconv.rows import Block, Incorrect, Values
from invconv.rows.columns import FLOW, Error, Name, Number, Seconds
from invconv.rows.columns import Ratio as Ratios
from invconv.sweeps.config import QUICK, Preset, neutral
from invconv.sweeps.groups import method_node
from invconv.tables.memory_page import STUDY, WAYS, finding, page
from invconv.tables.table import Table
from invconv.tables.trained import LABELS, TRAINED, MultiScale, describe_flow, train_one

NOISE = 0.1
"""The standard deviation of the noise on the weights, times the root of what an output sums."""
TOLERANCE = 0.01
"""Of a gradient in float32, relative to the ordinary one."""
SEGMENT = 4
"""The parts between two checkpoints: a step of the flow, without its 1×1 in Glow's."""
PLACES = {
    "glow": ((8, 16), (16, 16), (32, 16)),
    "finc": ((8, 16), (16, 16), (32, 16), (8, 4), (8, 32)),
    "macow": ((8, 16), (16, 16)),
}
"""Method → steps per level and images of its steps."""
NORMAL = torch.distributions.Normal(0.0, 1.0)
TRAINING = {
    **{"steps": 300, "batch_size": 64, "learning_rate": 2e-3, "warmup_steps": 50},
    **{"schedule": "cosine", "evaluate_every": 100, "checkpoint_every": 100},
}
"""Of digits."""
RATIOS = [Ratio(f"{way}_vs_ordinary", way, "ordinary") for way in WAYS if way != "ordinary"]
RATIOS.append(Ratio("aa_ordinary", "ordinary_again", "ordinary"))


def sizes() -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every cell by name, and what its configuration then holds."""
    for name, places in PLACES.items():
        chosen = {"method": method_node(methods()[name])}
        for steps, images in places:
            yield (
                f"{name}_k{steps}_b{images}",
                {
                    **chosen,
                    "part": "step",
                    "images": images,
                    "dataset": {"name": "cifar10"},
                    "budget": {
                        "levels": 3,
                        "steps": steps,
                        "width": 512,
                        "training": {"steps": 1},
                    },
                },
            )
        for memory in ("ordinary", "auto"):
            training = TRAINING | {"memory": memory}
            budget = {"levels": 2, "steps": 4, "width": 32, "training": training}
            where = {"part": "train", "images": 64, "dataset": {"name": "digits"}}
            yield f"{name}_{memory}", {**chosen, **where, "budget": budget}


CASES = dict(sizes())
SIZES = [name for name, case in CASES.items() if case["part"] == "step"]


@dataclass
class Memory(MultiScale):
    """One training step in each way, or one training of digits in one of them."""

    part: str = neutral("step")
    images: int = 16
    clock: Clock = field(default_factory=Clock)


def measure(config: Memory, device: torch.device, folder: Path) -> Values | Block:
    """Time a training step in every way, or train."""
    if config.part == "train":
        return {**train_one(config, device, folder), "memory": config.options.memory}
    return time_block(time_steps, config, device, config.clock, RATIOS, len(SIZES) * len(RATIOS))


def time_steps(config: Memory, device: torch.device, process: Process) -> Measured:
    """Build the flow, compare its gradients, record the allocator, and time."""
    shape = DATASETS[config.dataset.name].shape
    assert shape is not None
    torch.manual_seed(config.seed)
    flow = build_flow(describe_flow(config, config.method, shape, 256)).to(device)
    images = torch.randint(256, (config.images, *shape), device=device)
    flow.initialize(images)
    disturb(flow)
    steps = {way: partial(step, flow, images, way) for way in WAYS}
    values: Values = {"parameters": sum(p.numel() for p in flow.parameters())}
    if process.first:
        values |= verify_parts(flow, images[:2], log_det=False)
        gradients: dict[str, Tensor] = {}
        own = sum(p.nbytes for p in flow.parameters())
        for way, call in steps.items():
            call()
            gradients[way] = _gradient(flow)
            flow.zero_grad()
            values[f"{way}_bytes"] = allocator_peak(call, device) - own
        for way in WAYS[1:]:
            error = relative_error(gradients[way], gradients["ordinary"])
            if not error <= TOLERANCE:
                raise Incorrect(f"{way}: the gradient is off by {error:.1e}")
            values[f"{way}_gradient_error"] = error
        values["drift"] = flow.reversible.drift
        values["stored"] = len(flow.reversible.stored)
        values["stored_bytes"] = flow.reversible.used
    calls = {**steps, "ordinary_again": steps["ordinary"]}
    timed = time_calls(calls, device, config.clock, seed=process.number)
    return Measured([timed], values)


def _gradient(flow: LevelFlow) -> Tensor:
    found = [weight.grad for weight in flow.parameters()]
    return torch.cat([grad.flatten() for grad in found if grad is not None])


@torch.no_grad()
def disturb(flow: LevelFlow) -> None:
    """Add noise to every weight, so that couplings are not the identity, which they begin as."""
    for weight in flow.parameters():
        fan_in = weight[0].numel() if weight.ndim > 1 else 100
        weight.add_(torch.randn_like(weight), alpha=NOISE / math.sqrt(fan_in))


def step(flow: LevelFlow, images: Tensor, way: str) -> None:
    """Compute the gradients of one step, without the optimizer's."""
    flow.zero_grad()
    noise = torch.Generator(images.device).manual_seed(0)
    if way == "checkpointed":
        log_prob = checkpointed(flow, images, noise)
    else:
        log_prob = flow.log_prob(images, noise, "auto" if way == "reversible" else way)
    log_prob.mean().backward()


def checkpointed(flow: LevelFlow, images: Tensor, noise: torch.Generator) -> Tensor:
    """`LevelFlow.log_prob` with torch's activation checkpointing of every few parts."""
    parts: list[Bijection] = [part for _, part in flow.parts()]
    ends = [i + 1 for i, part in enumerate(parts) if part.leaving or i + 1 == len(parts)]
    y, log_prob = flow.dequantization(images, next(flow.parameters()).dtype, noise)
    latents, first = list[Tensor](), 0
    for end in ends:
        for start in range(first, end, SEGMENT):
            some = parts[start : min(start + SEGMENT, end)]
            y, change = checkpoint(_run, some, y, use_reentrant=False)
            log_prob = log_prob + change
        if leaving := parts[end - 1].leaving:
            y, latent = y.split((y.shape[1] - leaving, leaving), 1)
            latents.append(latent)
        first = end
    for latent in [*latents, y]:
        normal: Tensor = NORMAL.log_prob(latent)
        log_prob = log_prob + normal.sum((1, 2, 3))
    return log_prob


def _run(parts: list[Bijection], y: Tensor) -> tuple[Tensor, Tensor]:
    log_det = y.new_zeros(len(y))
    for part in parts:
        y, change = part(y)
        log_det = log_det + change
    return y, log_det


TABLE = Table(
    name="memory",
    title="What does it cost to train without keeping activations?",
    config=Memory,
    measure=measure,
    cell="{preset}-{part}-{method.name}-k{budget.steps}-b{images}-{budget.training.memory}-s{seed}",
    labels={
        **LABELS,
        "part": "part",
        "levels": "budget.levels",
        "steps": "budget.steps",
        "width": "budget.width",
        "images": "images",
    },
    columns=(
        Seconds(" ".join([*WAYS, "ordinary_again"])),
        Ratios(" ".join(ratio.name for ratio in RATIOS)),
        Error("*_gradient_error drift"),
        Number("*_bytes stored"),
        Name("memory"),
        *TRAINED,
        *FLOW,
    ),
    presets={
        "default": Preset(
            {"budget": {"training": {"steps": 1}}}, {"case": ",".join(SIZES)}, minutes=15
        ),
        "tiny": Preset(
            {"images": 2, "budget": {"levels": 1, "steps": 1, "width": 4}, "clock": QUICK},
            {"case": "finc_k8_b4"},
        ),
        # digits, from five seeds, both ways: does the difference in bits lie within ± 0.01?
        "trained": Preset(
            {"pictures": False},
            {"case": ",".join(n for n in CASES if n not in SIZES), "seed": "0,1,2,3,4"},
            minutes=6,
        ),
    },
    choices={"case": "finc_k8_b16"},
    groups={"case": CASES},
    times=lambda config: config.part == "step",
    headline="ordinary_bytes reversible_bytes reversible_vs_ordinary bpd",
    page=page,
    finding=finding,
    study=STUDY,
    order=8,
)
