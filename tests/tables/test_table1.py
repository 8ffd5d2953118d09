"""Counting, and the page of table 1."""

import pandas as pd
import pytest
import torch

from invconv import InvertibleConv, build
from invconv.bench.counting import count_inverse, count_log_det, count_parameters
from invconv.methods import method
from invconv.report.grids import swept
from invconv.report.published import LABELS, published
from invconv.rows import read_table
from invconv.rows.provenance import ROOT
from invconv.tables import table1

CORNERS = [(1, 1), (1, -1), (-1, 1), (-1, -1)]


def test_counts_by_hand():
    shape = (4, 5, 6)
    assert count_inverse(build("glow", shape), shape) == 30 * 4 * 4
    assert count_inverse(build("finc", shape), shape) == 4 * 30 * (8 + 1)
    assert count_inverse(build("cinc", shape), shape) == 4 * 30 * (8 * 4 + 2.5)
    both = count_inverse(build("emerging", shape, pointwise=True, bias=True), shape)
    assert both == 2 * 4 * 30 * (3 * 4 + 2.5) + 30 * 16 + 4 * 30
    dilated = build("emerging", shape, dilation=2).double()
    assert count_inverse(dilated, shape) == 2 * 4 * 30 * (3 * 4 + 2.5)
    assert count_log_det(build("finc", shape), shape) == 0
    assert count_log_det(build("cinc", shape), shape) == 4 + 1  # a sum, and the factor H·W
    periodic = count_inverse(build("periodic", (1, 4, 4)), (1, 4, 4))
    assert periodic == 2 * 0.5 * 2.5 * 16 * 4 + 4 * 4 * 3  # two real transforms, 4×3 frequencies
    frozen = build("glow", shape).requires_grad_(False)
    assert count_parameters(frozen, shape) == (16, 16)


def test_counting_refuses_what_it_does_not_know():
    class Odd(InvertibleConv):
        def forward(self, x):
            return x, x.new_zeros(x.shape[0])

        def _inverse(self, z):
            return torch.cholesky_solve(z, torch.eye(z.shape[2]).expand(1, 1, -1, -1))

    with pytest.raises(NotImplementedError, match="cholesky_solve"):
        count_inverse(Odd(2), (2, 3, 3))


def test_every_published_figure_has_its_source_and_every_formula_its_value():
    figures = published("table1")
    assert set(figures["label"]) <= set(LABELS)
    assert (figures["source"] != "").all()
    assert set(figures["metric"]) == set(table1.COUNTED)
    formulas = figures[figures["metric"].isin(["operations", "parameters"])]["value"]
    assert set(formulas) == set(table1.FORMULAS)
    by_hand = {"(2n−1)k²": 567, "k(⌈k/2⌉−1)": 3, "4nk²": 1152, "k²/3": 3, "cn²": 12288}
    for formula, value in by_hand.items():
        assert table1.FORMULAS[formula](12, 32, 3) == value


def test_the_page_says_which_published_formula_is_wrong():
    page = table1.TABLE.page(read_table(ROOT / "results" / "data" / "table1.csv")).markdown()
    assert "MaCow, log_det, O(n³): wrong" in page


def test_a_small_sweep(reproduce, tmp_path):
    done = reproduce("table1.py", "n=4", "channels=4,6", "method=finc,cinc")
    assert done.returncode == 1
    assert "3 of 4 cells ok" in done.stdout
    frame = pd.read_csv(tmp_path / "results" / "data" / "table1.csv")
    row = frame.set_index(["method", "channels"]).loc[("finc", 4)]
    assert (row["stored"], row["free"], row["dependent_steps"], row["k"]) == (36, 32, 7, 3)
    page = " ".join((tmp_path / "results" / "table1.md").read_text().split())
    assert "| FInC | (2n−1)k² | 63 | 7 | 576 |" in page
    assert "| MintNet | 3n | 12 | published only | published only |" in page
    assert "multiple of 4, not 6" in page
    assert "C = 6, n = 4, k = 3" in page


@pytest.mark.parametrize("name", swept())
@pytest.mark.usefixtures("float64")
def test_what_a_pixel_may_see_is_what_the_jacobian_has(name):
    one = method(name)
    layer = build(one.conv, (4, 8, 8), **one.options).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    jacobian = torch.autograd.functional.jacobian(
        lambda x: layer.latent(x)[0, :, 4, 4], torch.randn(1, 4, 8, 8)
    )[:, 0]
    offsets = {
        channel: {(h - 4, w - 4) for h, w in seen.abs().amax(0).gt(1e-12).nonzero().tolist()}
        for channel, seen in enumerate(jacobian)
    }
    every = set().union(*offsets.values())
    sides = {(h > 0) - (h < 0) for h, _ in every}, {(w > 0) - (w < 0) for _, w in every}
    if layer.sees == "the pixel itself":
        assert every == {(0, 0)}
    elif layer.sees == "a quarter plane":
        for seen in offsets.values():
            assert any(all(a * h >= 0 <= b * w for h, w in seen) for a, b in CORNERS)
            assert len(seen) > 1
    else:
        assert sides == ({-1, 0, 1}, {-1, 0, 1})


def test_what_a_layer_assumes_is_on_the_page():
    rows = read_table(ROOT / "results" / "data" / "table1.csv").head(1)
    assert (
        "What a method is"
        not in table1.TABLE.page(rows.drop(columns="sees", errors="ignore")).markdown()
    )
    rows = rows.assign(sees="all", assumes="odd k")
    assert "| all" in table1.TABLE.page(rows).markdown()
