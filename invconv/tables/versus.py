"""Bits per dimension, forward time and sampling time against image size n and kernel size k."""

from collections.abc import Mapping
from functools import partial
from math import nan
from pathlib import Path
from typing import cast

import torch

from invconv.bench import time_block
from invconv.data.sets import ranked
from invconv.report import Plot
from invconv.report.grids import swept
from invconv.rows import Block, Values
from invconv.rows import columns as cl
from invconv.sweeps.config import QUICK, Preset
from invconv.tables.table import Table
from invconv.tables.trained import TRAINED, train_one
from invconv.tables.versus_config import CASES, Versus
from invconv.tables.versus_page import STUDY, finding, page
from invconv.tables.versus_pictures import AXES, LAYERS, MODELS, WORDS
from invconv.tables.versus_timing import ratios, time_layers, time_models


def measure(config: Versus, device: torch.device, folder: Path) -> Values | Block:
    """Train one model, or time all models or layers in one block."""
    if config.part == "train":
        place: Values = {"n": config.dataset.size, "k": config.k, "method": config.method.name}
        return {**train_one(config, device, folder), **place}
    kinds = ("ft", "st") if config.part == "models" else ("forward", "inverse")
    time = time_models if config.part == "models" else time_layers
    among = 4 * max(1, len(config.points)) * len(swept())
    return time_block(time, config, device, config.clock, partial(ratios, kinds=kinds), among)


RATIOS = [
    f"{a}_vs_{b}"
    for pair in (("ft", "st"), ("forward", "inverse"))
    for a in (*pair, f"{pair[1]}_published")
    for b in ("glow", "torch", "half", pair[0])
]

FIGURES = {"models": ["st_s", "ft_s", "bpd"], "layers": ["forward_s", "inverse_s"]}
SIZES = {"models": "", "layers": ", {channels:g} channels, batch {batch:g}"}
PLOTS = tuple(
    Plot(
        title=f"{{column}} against {x}, {other} = {value}{SIZES[part]}",
        columns={name: {**MODELS, **LAYERS}[name].removesuffix(", ms") for name in names},
        x=x,
        axis=WORDS[x],
        # methods without a kernel size are at every k
        where={other: [value, nan], "part": ["train", part]},
        apart=("seed",),
    )
    for part, names in FIGURES.items()
    for x, (other, value) in AXES[part].items()
)


def _settings(
    clock: Mapping[str, object], size: Mapping[str, int] | None = None, **training: object
) -> dict[str, object]:
    """The size, or another one, and the training of the ranking; the case says how long."""
    budget = ranked(1)
    own = dict(cast(Mapping[str, object], budget["training"]))
    del own["steps"]
    return {
        "pictures": False,
        "budget": {**budget, **(size or {}), "training": {**own, **training}},
        "clock": clock,
    }


TABLE = Table(
    name="versus",
    title="Bits per dimension, forward time and sampling time against n and k",
    question="How do bits per dimension, forward time and sampling time change with n and k?",
    config=Versus,
    measure=measure,
    cell="{preset}-{part}-{method.name}-{dataset.label}-k{k}-c{channels}-b{batch}-s{seed}",
    labels={
        "preset": "preset",
        "part": "part",
        "channels": "channels",
        "batch": "batch",
        "seed": "seed",
    },
    parts="place",
    columns=(
        *TRAINED,
        cl.Seconds("ft ft_again ft_cold st st_again st_published train_step"),
        cl.Seconds("forward inverse inverse_again"),
        cl.Seconds("dense dense_channels_last grouped", verified=False),  # torch's own
        cl.Ratio(" ".join([*RATIOS, "aa_st", "aa_inverse"])),
        cl.Number("n k input_bytes *extra_bytes"),
        cl.Name("method point"),
        *cl.FLOW,
    ),
    presets={
        "default": Preset(
            _settings({"processes": 1, "rounds": 6}, steps=100),
            {"case": "glow_n16k3,finc_n16k3,models", "seed": "'0'"},
            minutes=6,
        ),
        "tiny": Preset(
            _settings(QUICK, {"levels": 1, "steps": 1, "width": 4}, steps=3, evaluate_every=3)
            | {"points": ["n8k3"], "batch": 2, "draws": 1},
            {"case": "glow_n8k3,models,layers_c12_b1", "seed": "'0'"},
            minutes=1,
        ),
        "full": Preset(
            _settings({}),
            {"seed": "0,1,2", "case": ",".join(CASES)},
            minutes=415,
        ),
    },
    choices={"case": "models"},
    groups={"case": CASES},
    times=lambda config: config.part != "train",
    headline="bpd ft_s st_s",
    page=page,
    plots=PLOTS,
    finding=finding,
    study=STUDY,
    order=1,
)
