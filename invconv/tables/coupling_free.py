"""Flows without couplings, after table 1 of Self Normalizing Flows.

Kernel sizes are 1, 2, 3, 5 and 7 where a method has them. Glow, both Woodbury and Butterfly have
no kernel. Emerging, MaCow, both exponentials, SNF and MintNet have a tap at the center: no k = 2.
At k = 1 the first three layers have one channel: nothing mixes there, and the skew exponential of
a 1×1 kernel of one channel is the identity. In training SNF has a surrogate of log_det and its
penalty; its bits per dimension are by the exact log_det, of matrices of 784×784 here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from invconv.methods import Method, methods
from invconv.report import Plot
from invconv.rows import Values
from invconv.rows.columns import FLOW, Number
from invconv.sweeps.config import ChosenMethod, Preset
from invconv.sweeps.groups import method_node
from invconv.tables.coupling_free_page import STUDY, finding, page
from invconv.tables.table import Table
from invconv.tables.trained import LABELS, TRAINED, Trained, train_one
from invconv.training import TrainingOptions

KERNELS = (1, 2, 3, 5, 7)


def cases() -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every method at every kernel size that it has, and what a configuration then holds."""
    for name, one in methods().items():
        if one.swept:
            sizes = {k: found for k in KERNELS if (found := one.with_kernel(k))}
            for k, found in sizes.items():
                yield f"{name}_k{k}", {"method": method_node(found), "k": k}
            if not sizes:
                yield name, {"method": method_node(one), "k": None}


CASES = dict(cases())


@dataclass
class CouplingFree(Trained):
    """One training of one method with one kernel size, None where it has none."""

    k: int | None = None
    blocks: int = 3
    layers: int = 3
    training: TrainingOptions = field(default_factory=lambda: TrainingOptions(1000))

    @property
    def options(self) -> TrainingOptions:
        """How the flow is trained."""
        return self.training

    def flow(self, method: ChosenMethod | Method) -> dict[str, object]:
        """See `Trained.flow`."""
        return {"kind": "coupling_free", "blocks": self.blocks, "layers": self.layers}


def measure(config: CouplingFree, device: torch.device, folder: Path) -> Values:
    """Train, and say at which kernel size; a label could not be empty where there is none."""
    return {**train_one(config, device, folder), "k": config.k}


# SNF's: Adam with 1e-3, batches of 100; no clipping
AS_RELEASED = {"batch_size": 100, "learning_rate": 1e-3, "grad_clip": 0.0}


def _settings(steps: int, evaluate_every: int, **more: object) -> dict[str, object]:
    training = {**AS_RELEASED, "steps": steps, "evaluate_every": evaluate_every}
    return {"pictures": False, "training": training, **more}


SWEEP = {"seed": "0,1,2", "dataset": "fashion_mnist", "case": ",".join(CASES)}
QUICK = {"seed": "'0'", "dataset": "digits", "case": "glow,finc_k3,emerging_k3,cinc_k3"}

TABLE = Table(
    name="coupling_free",
    title="What do the convolutions learn without couplings?",
    config=CouplingFree,
    measure=measure,
    cell="{preset}-{dataset.label}-{method.name}-k{k}-s{seed}",
    labels=LABELS,
    columns=(*TRAINED, *FLOW, Number("k")),
    presets={
        "default": Preset(
            _settings(200, 200, blocks=2),
            QUICK,
            minutes=2,
        ),
        "tiny": Preset(
            _settings(3, 3, blocks=2, draws=2),
            QUICK | {"case": "glow,finc_k3"},
            minutes=1,
        ),
        "grid": Preset(
            _settings(1000, 500),
            SWEEP,
            minutes=560,
        ),
        # without neighbors no kernel should have an advantage; with shifts Periodic is at home
        "controls": Preset(
            _settings(1000, 500),
            SWEEP
            | {
                "seed": "'0'",
                "case": ",".join(name for name, case in CASES.items() if case["k"] in (None, 3)),
                "dataset.pixels": "permuted,shifted",
            },
            minutes=45,
        ),
        # ten epochs: do ranks at 1,000 steps hold?
        "long": Preset(
            _settings(5000, 1000),
            SWEEP | {"case": "finc_k3,emerging_k3"},
            minutes=60,
        ),
    },
    choices={"case": "glow", "dataset": "digits"},
    groups={"case": CASES},
    times=lambda _: False,
    headline="bpd valid_bpd",
    page=page,
    finding=finding,
    study=STUDY,
    plots=(
        Plot(
            title="{column}, {dataset}",
            columns={"bpd": "bits per dimension"},
            x="k",
            apart=("preset", "seed"),
        ),
    ),
    order=6,
)
