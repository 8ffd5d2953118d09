"""Everything against n and k: its cells, its ratios, its page, and a small sweep."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from test_map import of_versus

from invconv.bench import Clock
from invconv.bench.blocks import Process
from invconv.bench.ratios import expand
from invconv.report.grids import swept
from invconv.rows import Status, read_table
from invconv.tables import versus, versus_page, versus_timing
from invconv.tables.importing import check_rows
from invconv.tables.table import tables
from invconv.tables.versus_config import CASES, LAYER_POINTS, MODEL_POINTS, Versus, size_of
from invconv.tables.versus_timing import ratios, time_layers, torch_convolutions


def test_every_method_is_at_every_n_and_k_that_it_has():
    trained = {name for name, case in CASES.items() if "part" not in case}
    assert len(trained) == 3 * 16 + 5 + 12 + 12  # a kernel with a center has no even k
    for name in swept():
        assert {f"{name}_n{n}k3" for n in (8, 16, 32)} <= trained
    assert "finc_n16k2" in trained and "emerging_n16k2" not in trained
    assert "woodbury_n16k5" not in trained
    assert {"models", "layers_c12_b1", "layers_c48_b100"} <= set(CASES)


def test_budgets_are_equal_over_methods():
    steps = {}
    for case in CASES.values():
        if "part" not in case:
            n = case["dataset"]["size"]
            steps.setdefault(n, set()).add(case["budget"]["training"]["steps"])
    assert steps == {8: {2000}, 16: {2000}, 32: {600}}


def test_points_that_are_none():
    for wrong in ("n16", "16k3", "nxk3", "n16k"):
        with pytest.raises(ValueError, match="a point must be such as n16k5, not "):
            size_of(wrong)
    assert {size_of(point) for point in MODEL_POINTS} == {(8, 3), (16, 3), (32, 3), *MORE}
    assert len(LAYER_POINTS) == 9


MORE = {(16, 2), (16, 5), (16, 7)}


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_torchs_convolutions_keep_the_size_and_agree(k):
    x = torch.randn(2, 8, 9, 9)
    found = torch_convolutions(x, k)
    dense, last, grouped = (found[name]() for name in versus_page.WAYS)
    assert dense.shape == grouped.shape == x.shape
    torch.testing.assert_close(dense, last)


def test_what_is_divided():
    names = ["n8k3-glow", "n16k3-glow", "n8k3-finc", "n16k3-finc"]
    calls = [f"{name}/{kind}" for name in names for kind in ("forward", "inverse")]
    calls += ["n16k3-torch/dense", "n16k3-torch/grouped", "n8k3-glow/inverse_again"]
    seconds = [3.0 if call.endswith("dense") else 1.0 for call in calls]
    samples = pd.DataFrame({"call": calls, "seconds": seconds})
    pairs = expand(ratios(samples, ("forward", "inverse")), calls)
    assert pairs["n16k3-finc/inverse_vs_half"] == ("n16k3-finc/inverse", "n8k3-finc/inverse")
    assert pairs["n16k3-finc/inverse_vs_glow"] == ("n16k3-finc/inverse", "n16k3-glow/inverse")
    assert pairs["n16k3-finc/inverse_vs_torch"] == ("n16k3-finc/inverse", "n16k3-torch/grouped")
    assert pairs["n8k3-glow/aa_inverse"] == ("n8k3-glow/inverse_again", "n8k3-glow/inverse")
    assert "n8k3-finc/inverse_vs_half" not in pairs
    assert "n8k3-finc/inverse_vs_torch" not in pairs
    assert "n8k3-glow/forward_vs_glow" not in pairs


def test_a_layer_that_fails_does_not_stop_the_others(monkeypatch):
    from invconv.layers import CInC

    monkeypatch.setattr(CInC, "inverse", lambda self, z, **_: 1.01 * z)
    config = Versus(part="layers", points=["n6k3"], channels=4, batch=2)
    config.clock = Clock(rounds=2, warmup=1, window=0.0)
    found = time_layers(config, torch.device("cpu"), Process())
    states = {name.partition("-")[2]: part.status for name, part in found.parts.items()}
    assert states["cinc"] == Status.INCORRECT
    assert {states[name] for name in (*swept(), "torch") if name != "cinc"} == {Status.OK}


def test_glow_is_beside_the_others_at_every_kernel_size():
    config = Versus(part="layers", points=["n6k2"], channels=4, batch=2)
    config.clock = Clock(rounds=2, warmup=1, window=0.0)
    parts = time_layers(config, torch.device("cpu"), Process()).parts
    assert parts["n6k2-glow"].labels["k"] == 2 and "n6k2-woodbury" not in parts
    assert parts["n6k2-glow"].status == Status.OK


def test_exponents_are_those_of_a_power():
    x = pd.Series([8, 16, 32, 64])
    slope, reach = versus_page.slope(x, 3e-6 * x**1.7)
    assert (slope, reach) == pytest.approx((1.7, 0), abs=1e-9)
    noisy = 3e-6 * x**1.7 * np.exp([0.1, -0.1, 0.1, -0.1])
    assert versus_page.slope(x, noisy)[1] > 0.1
    assert versus_page.slope(x[:2], x[:2]) is None


def test_the_page_opens_with_the_answer_the_picture_and_one_table():
    document = versus.TABLE.page(pd.DataFrame(of_versus()))
    lines = [line for line in document.markdown().splitlines() if line]
    assert lines[0].startswith("# ")
    assert "FInC" in lines[1] and "times Glow's time" in lines[1]
    assert lines[2] == "![whole models against n and k](figures/versus-models.svg)"
    assert lines[4].startswith("| method ")
    assert lines[4].count("|") == 8
    names = {"versus-models", "versus-readme", "versus-pareto", "versus-relative"}
    assert set(document.pictures) == names | {"versus-layer-c12-b100"}
    for draw in document.pictures.values():
        assert draw().axes


def test_the_pictures_show_all_ten_relations():
    document = versus.TABLE.page(pd.DataFrame(of_versus()))
    whole = document.pictures["versus-models"]()
    assert len(whole.axes) == 6
    assert [axes.get_yscale() for axes in whole.axes] == ["linear"] * 2 + ["log"] * 4
    assert len(document.pictures["versus-layer-c12-b100"]().axes) == 4
    assert len(document.context["tables"]) == 8
    assert len(document.context["layers"][0]["tables"]) == 6


def test_the_fastest_of_torchs_convolutions_stands_for_it():
    rows = pd.DataFrame(of_versus())
    found = versus_page.with_torch(rows)
    torchs = found[found["method"] == "torch"]
    assert (torchs["forward_s"] == torchs["dense_s"]).all()
    assert math.isclose(torchs["forward_q25_s"].iloc[0], torchs["dense_q25_s"].iloc[0])


def test_a_small_sweep(reproduce, tmp_path):
    done = reproduce("versus.py", "preset=tiny", "progress=false", "clock.processes=1")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 cells ok" in done.stdout
    rows = pd.read_csv(tmp_path / "runs" / "tiny" / "results" / "data" / "versus.csv")
    check_rows(
        read_table(tmp_path / "runs" / "tiny" / "results" / "data" / "versus.csv"), tables()
    )
    timed = rows[rows["part"] == "models"]
    assert set(timed["method"]) == set(swept())
    assert (timed["n"] == 8).all() and timed["st_s"].notna().all()
    layers = rows[rows["part"] == "layers"]
    assert set(layers["method"]) == {*swept(), "torch"}
    assert rows[rows["part"] == "train"]["bpd"].notna().all()
    assert timed.set_index("method")["k"].to_dict()["finc"] == 3
    assert math.isnan(timed.set_index("method")["k"].to_dict()["glow"])


def test_what_takes_too_long_is_not_timed_and_says_why(monkeypatch):
    monkeypatch.setattr(versus_timing, "MOST_OPERATIONS", 1e5)
    config = Versus(part="layers", points=["n6k3"], channels=4, batch=2)
    config.clock = Clock(rounds=2, warmup=1, window=0.0)
    parts = time_layers(config, torch.device("cpu"), Process()).parts
    assert parts["n6k3-glow"].status == Status.OK
    assert parts["n6k3-mintnet"].status == Status.UNSUPPORTED
    assert "an inverse of 2 images takes" in parts["n6k3-mintnet"].reason
