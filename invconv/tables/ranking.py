"""Bits per dimension of ten methods over several seeds."""

from invconv.report import Plot
from invconv.report.grids import swept
from invconv.rows.columns import FLOW
from invconv.sweeps.config import Preset
from invconv.tables.ranking_page import STUDY, finding, page
from invconv.tables.table import Table
from invconv.tables.trained import LABELS, TRAINED, MultiScale, train_one

TEN = "glow,finc,emerging,emerging_raster,cinc,inverse_flow,woodbury,me_woodbury,periodic,macow"
"""Those that the study compares: its power and its intervals are of so many."""
SWEEP = {
    # the outermost: what is done when a machine goes away are whole seeds
    "seed": "0,1,2,3,4",
    "dataset": "fashion_mnist,photographs",
    "method": TEN,
}

TABLE = Table(
    name="ranking",
    title="Which convolution gives fewer bits per dimension?",
    config=MultiScale,
    measure=train_one,
    cell="{preset}-{dataset.label}-{method.name}-s{seed}",
    labels=LABELS,
    columns=(*TRAINED, *FLOW),
    presets={
        "default": Preset(
            {},
            SWEEP | {"seed": "0,1", "dataset": "digits", "method": "glow,finc,emerging,cinc"},
            minutes=4,
        ),
        "tiny": Preset(
            {"pictures": False, "draws": 2},
            SWEEP | {"seed": "0,1", "dataset": "digits", "method": "glow,finc"},
            minutes=1,
        ),
        "ranked": Preset({"pictures": False}, SWEEP, minutes=540),
        # do differences keep their sign at four times the steps?
        "long": Preset(
            {"pictures": False},
            SWEEP | {"seed": "'0'", "method": "glow,finc,emerging"},
            minutes=90,
        ),
    },
    choices={"method": "glow", "dataset": "digits"},
    times=lambda _: False,
    headline="bpd valid_bpd",
    page=page,
    finding=finding,
    study=STUDY,
    plots=(
        Plot(
            title="{column}, {dataset}",
            columns={"bpd": "bits per dimension"},
            order=swept(),
            apart=("preset", "seed"),
        ),
    ),
    order=5,
)
