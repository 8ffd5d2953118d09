"""Table 2 of the FInC Flow paper: bits per dimension, forward time and sampling time."""

from collections.abc import Sequence
from pathlib import Path

import torch

from invconv.bench import Measured, Process, time_block
from invconv.bench.flow_timing import flow_ratios, time_flows
from invconv.data import SPLITS, data_set, load
from invconv.flows import LevelFlow, build_flow
from invconv.methods import method, methods
from invconv.report import Plot
from invconv.report.findings import sentence
from invconv.report.grids import swept
from invconv.report.naming import called
from invconv.rows import Block, Values
from invconv.rows.columns import FLOW, Number, Ratio, Seconds
from invconv.sweeps.config import QUICK, Preset
from invconv.tables.relative import REFERENCE
from invconv.tables.table import Table
from invconv.tables.table2_config import PARTS, Table2
from invconv.tables.table2_page import EMBEDDED, PAPER, STUDY, TITLES, brief, page, shown
from invconv.tables.trained import LABELS, TRAINED, describe_flow, draw_losses, facts, train_one
from invconv.training.distributed import current

INITIAL_IMAGES = 16
SMALL = ("digits", "photographs16")
"""The data of the default sweep, by their names on the command line."""
COMPARED = 4 * len(EMBEDDED)
"""Ratios of each method on the page: FT, ST, its paper's ST and a training step, per data."""


def measure(config: Table2, device: torch.device, folder: Path) -> Values | Block:
    """Train and evaluate one method, or time all in one block; only rank 0 does the second."""
    if config.part == "train":
        return train_one(config, device, folder)
    if current().rank:
        return {}
    count = len(config.methods) - 1
    ratios = flow_ratios(REFERENCE)
    return time_block(time_all, config, device, config.clock, ratios, max(1, count * COMPARED))


def time_all(config: Table2, device: torch.device, process: Process) -> Measured:
    """Verify and time the flows of all methods, as initialized on random images; needs no data."""
    known = data_set(config.dataset.name)
    shape, levels = known.shape, known.levels
    if shape is None or levels is None or config.dataset.size is not None:
        chosen = config.dataset.options
        data = load(split=SPLITS[0], root=config.dataset.root, **chosen)
        shape, levels = data.shape, data.levels
    torch.manual_seed(config.seed)
    size = (max(INITIAL_IMAGES, config.images), *shape)
    images = torch.randint(levels, size).byte().to(device)

    def build(name: str) -> tuple[LevelFlow, Values]:
        torch.manual_seed(config.seed)
        flow = build_flow(describe_flow(config, method(name), shape, levels)).to(device)
        flow.initialize(images[:INITIAL_IMAGES])
        return flow, facts(flow, images) if process.first else {}

    whole = config.methods, build, images, config.images
    return time_flows(*whole, config.clock, process, REFERENCE)


def of_sweep(jobs: Sequence[Sequence[str]]) -> list[str]:
    """What a timing cell is told: the methods of the sweep, in the order of display."""
    asked = {text.partition("=")[2] for job in jobs for text in job if text.startswith("method=")}
    named = any(text.startswith("methods=") for job in jobs for text in job)
    names = [name for name in methods() if name in asked] + sorted(asked - set(methods()))
    return [] if named or not names else [f"methods=[{','.join(names)}]"]


SWEEP = {
    "part": ",".join(PARTS),
    "dataset": ",".join(EMBEDDED),
    "method": ",".join(swept()),
    "seed": "'0'",
}
OF_PAPER = SWEEP | {"dataset": ",".join(PAPER)}
TABLE = Table(
    name="table2",
    title="Table 2: bits per dimension, forward time and sampling time",
    question="How do the methods compare in bits per dimension, forward time and sampling time?",
    config=Table2,
    measure=measure,
    cell="{preset}-{dataset.label}-{method.name}-s{seed}",
    labels=LABELS,
    parts="method",
    columns=(
        *TRAINED,
        Seconds("ft ft_again ft_cold st st_again st_published train_step"),
        Ratio(" ".join(rule.name for rule in flow_ratios(REFERENCE))),
        Number("*extra_bytes"),
        *FLOW,
    ),
    presets={
        # one seed and few steps: its bits per dimension rank nothing
        "default": Preset(
            {"progress": False},
            SWEEP | {"dataset": ",".join(SMALL)},
            minutes=8,
            launch="local",
        ),
        "full": Preset({"clock": {"processes": 3}}, SWEEP, minutes=35),
        "tiny": Preset(
            {"pictures": False, "images": 10, "clock": QUICK},
            SWEEP,
            minutes=1,
        ),
        # days on a GPU; further models of the paper: budget=paper_cifar10_k28 and so on; times
        # alone, without data: part=time
        "paper": Preset({"clock": {"processes": 3, "rounds": 6}}, OF_PAPER),
    },
    choices={"method": "glow", "dataset": "digits"},
    times=lambda config: config.part == "time",
    shared=of_sweep,
    headline="bpd ft_s st_s timed_images",
    brief=brief,
    after=draw_losses,
    study=STUDY,
    page=page,
    finding=sentence(
        "Relative to Glow, sampling takes {} times as long with our inverses, and {} times with "
        "the papers' algorithms.",
        f"st_vs_{REFERENCE}",
        f"st_published_vs_{REFERENCE}",
        called=called,
    ),
    plots=(
        Plot(
            title="{column}, {dataset}",
            columns={"st_s": TITLES["st_s"], **TITLES, "bpd": "bits per dimension"},
            order=shown(),
            apart=("preset", "seed"),
        ),
    ),
    order=2,
)
