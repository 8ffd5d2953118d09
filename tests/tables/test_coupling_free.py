"""Flows without couplings: their layers, and the table made of them."""

import pandas as pd
import pytest
import torch

from invconv import build
from invconv.conv import layer_class
from invconv.flows import CouplingFreeFlow
from invconv.layers import FInC
from invconv.rows import read_table
from invconv.tables.coupling_free import CASES
from invconv.tables.importing import check_rows
from invconv.tables.table import tables

IMAGES = torch.randint(256, (6, 1, 12, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(name, marks=[] if case["k"] in (None, 3) else [pytest.mark.slow])
        for name, case in CASES.items()
    ],
)
@pytest.mark.usefixtures("float64")
def test_every_case_inverts_and_counts_its_volume(case):
    """The Jacobian of the whole flow, by central differences of its determinant."""
    method = CASES[case]["method"]
    flow = CouplingFreeFlow(method["conv"], (1, 12, 12), conv_options=method["options"]).eval()
    flow.initialize(IMAGES)
    y = torch.randn(2, 1, 12, 12)
    (z,), log_det = flow.encode(y)
    assert z.shape == (2, 16, 3, 3)
    assert (flow.decode([z]) - y).abs().max() < 1e-6
    jacobian = torch.autograd.functional.jacobian(
        lambda x: flow.encode(x.view(1, 1, 12, 12))[0][0].flatten(), y[0].flatten()
    )
    assert torch.linalg.slogdet(jacobian)[1].item() == pytest.approx(log_det[0].item(), rel=1e-8)


def test_finc_on_few_channels_is_one_corner_per_layer():
    flow = CouplingFreeFlow("finc", (1, 28, 28), conv_options={"kernel_size": 5})
    layers = [[part for part in level if hasattr(part, "corners")] for level in flow.levels]
    assert [part.corners for part in layers[0]] == ["tl", "tr", "bl"]
    assert all(isinstance(part, FInC) for level in layers[1:] for part in level)
    assert {part.weight.shape[-2:] for level in layers for part in level} == {(5, 5)}


def test_its_size_is_that_of_the_released_network():
    """7.4k weights of convolutions (SNF, table 1), here Inverse-Flow's dense kernels."""
    flow = CouplingFreeFlow("inverse_flow", (1, 28, 28))
    convs = [p for name, p in flow.named_parameters() if p.ndim == 4]
    assert sum(p.numel() for p in convs) == 3 * 9 * (1 + 16 + 256) == 7371


def test_every_method_has_its_kernels_and_says_so():
    sizes = {}
    for case, found in CASES.items():
        sizes.setdefault(found["method"]["name"], []).append(found["k"])
        build(found["method"]["conv"], (4, 8, 8), **found["method"]["options"])
        assert case.startswith(found["method"]["name"])
    assert sizes["finc"] == sizes["cinc"] == sizes["periodic"] == [1, 2, 3, 5, 7]
    assert sizes["cayley"] == sizes["finc"]
    for name in ("emerging", "macow", "conv_exp", "skew_exp", "snf", "mintnet"):
        assert sizes[name] == [1, 3, 5, 7]
    assert sizes["glow"] == sizes["woodbury"] == sizes["butterfly"] == [None]
    assert layer_class("macow").kernel_options(5) == {"kernel_size": (3, 5)}
    assert CASES["emerging_raster_k5"]["method"]["options"] == {"kernel_size": 5, "mask": "raster"}


def test_a_small_sweep(reproduce, tmp_path):
    done = reproduce("coupling_free.py", "preset=tiny", "progress=false", "case=glow,finc_k2")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 cells ok" in done.stdout
    folder = tmp_path / "runs" / "tiny" / "results"
    rows = pd.read_csv(folder / "data" / "coupling_free.csv").set_index("method")
    check_rows(read_table(folder / "data" / "coupling_free.csv"), tables())
    assert rows["k"].to_dict() == pytest.approx({"glow": float("nan"), "finc": 2}, nan_ok=True)
    assert (rows["noise_draws"] == 2).all()
    assert "k = 2" not in (folder / "coupling_free.md").read_text()  # tiny rows are no study
