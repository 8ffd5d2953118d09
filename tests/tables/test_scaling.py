"""The scaling sweep and its page."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from invconv.bench import Clock, Process, layer_timing
from invconv.bench.baselines import corner_weight
from invconv.bench.layer_timing import (
    HOT,
    Layer,
    fastest,
    layer_calls,
    layer_ratios,
    with_fastest,
)
from invconv.bench.memory import peak_extra_bytes
from invconv.bench.ratios import expand, summaries
from invconv.rows import Block, Incorrect, Part, read_samples, read_table, samples_path
from invconv.rows.provenance import ROOT
from invconv.solvers.problem import CORNERS
from invconv.tables import scaling, scaling_page
from invconv.tables.scaling import TABLE, Scaling
from invconv.tables.scaling_page import SERIES, exponents

UNSEEN = Clock(rounds=2, warmup=1, window=0)
"""A clock that does not look at the machine."""
MEMORY = """
import torch
from invconv import solve_triangular_conv2d
from invconv.bench.baselines import corner_weight
from invconv.bench.memory import peak_extra_bytes
from invconv.solvers.problem import CORNERS
weight = corner_weight(12, 3)
small = torch.randn(1, 12, 4, 4)
solve_triangular_conv2d(small, weight, corners=CORNERS)
z = torch.randn(100, 12, 64, 64)
call = lambda: solve_triangular_conv2d(z, weight, corners=CORNERS)
print(peak_extra_bytes(call, z.device) / (z.numel() * 4))
"""

GRADIENT_MEMORY = """
import torch
from invconv.bench.memory import peak_extra_bytes
from invconv.solvers import compiled
from invconv.solvers.problem import parse_problem
torch.set_num_threads(1)
weight = torch.randn(256, 1, 3, 3)
z = torch.randn(1, 256, 64, 64)
problem = parse_problem(z, weight, None, "tl", False, "z")
compiled.weight_gradient(z[:, :, :4, :4], z[:, :, :4, :4], weight, problem)
print(peak_extra_bytes(lambda: compiled.weight_gradient(z, z, weight, problem), z.device))
"""


def test_a_small_sweep(reproduce, tmp_path):
    """All points are parts of one cell."""
    done = reproduce("scaling.py", "preset=tiny", "points=[n4,k2]")
    assert done.returncode == 0, done.stderr
    results = tmp_path / "runs" / "tiny" / "results"
    frame = read_table(results / "data" / "scaling.csv").set_index("point")
    assert frame["status"].to_dict() == {"k2": "ok", "n4": "ok"}
    cells = frame["cell"].str.partition("/")
    assert cells[0].nunique() == 1 and cells[0].iloc[0].startswith("c4-b2-")
    assert cells[2].tolist() == frame.index.tolist()
    ok = frame[frame["status"] == "ok"]
    assert ok.loc["n4", ["n", "k"]].tolist() == [4, 3]
    assert ok.loc["k2", ["n", "k"]].tolist() == [32, 2]
    assert (ok[["torch_forward_s", "inverse_s", "inverse_diagonal_channel_s"]] > 0).all(axis=None)
    assert (ok[["compiled_error", "wavefront_error"]] < 1e-4).all(axis=None)
    assert (ok[["fresh_vs_torch_forward", "inverse_vs_forward", "aa_inverse"]] > 0).all(axis=None)
    assert np.allclose(ok["gflops"], 2e-9 * ok["work"] / ok["inverse_s"])
    samples = read_samples(samples_path(results / "data" / "scaling.csv"))
    assert set(samples["call"].str.partition("/")[0]) == {"k2", "n4"}
    for point in ("k2", "n4"):
        times = samples[samples["call"] == f"{point}/inverse"]["seconds"]
        assert ok.loc[point, "inverse_s"] == pytest.approx(times.median(), rel=1e-4)
    assert (results / "scaling.md").exists()
    assert len(list((results / "figures").glob("*.svg"))) == 1


def measured(monkeypatch, *points, **settings):
    """The block of these points, in this process."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    config = Scaling(points=list(points), channels=4, batch=2, clock=UNSEEN, **settings)
    return TABLE.measure(config, torch.device("cpu"), None)


def test_a_wrong_point_is_refused_before_the_others_are_measured(reproduce, tmp_path):
    done = reproduce("scaling.py", "preset=tiny", "points=[n4,oops]")
    assert done.returncode == 1
    assert done.stderr.startswith("scaling: a point must be n or k and a size, such as n64")
    assert not list(tmp_path.rglob("row.json"))
    with pytest.raises(ValueError, match="a point must be n or k and a size"):
        Scaling(points=["n0"])


def test_what_takes_too_long_is_not_timed(monkeypatch):
    monkeypatch.setattr(scaling, "MOST", 2000.0)
    block = measured(monkeypatch, "n4", "n8")
    small, large = (block.parts[point].values for point in ("n4", "n8"))
    assert small["work"] == 2 * 4 * 16 * 9 < 2000 < large["work"]
    assert "inverse_wavefront_s" in small and "omitted_reason" not in small
    assert large["omitted_reason"] == "more than 2e+03 multiply-adds: only our inverse is timed"
    assert large["inverse_s"] > 0 and large["compiled_error"] < 1e-4
    assert not [name for name in large if "wavefront" in name or "diagonal_channel" in name]


def test_the_intervals_hold_for_all_settings_together(monkeypatch):
    block = measured(monkeypatch, "n4", "k2")
    assert block.values["compared"] == len(scaling.DIVIDED) * 2 * scaling.SETTINGS


def small_layer():
    return Layer(torch.randn(2, 4, 6, 6), corner_weight(4, 3), corners=CORNERS)


def test_a_layer_is_timed_with_what_it_is_compared_with():
    found = layer_calls(small_layer(), ["wavefront", "compiled"])
    errors = {name: error for name, error in found.values.items() if name.endswith("_error")}
    assert set(errors) == {"wavefront_error", "compiled_error"}
    assert max(errors.values()) < 1e-5
    assert found.values["input_bytes"] == 2 * 4 * 6 * 6 * 4
    ours = {"inverse", "inverse_again", "forward", "fresh", "wavefront"}
    theirs = {"four", "four_fresh", "four_cropped", "grouped", "dense", "dense_channels_last"}
    assert set(found.calls) == {*ours, *theirs, "1x1_conv2d", "1x1_matmul"}
    assert found.calls["inverse_again"] is found.calls["inverse"]  # A/A


def test_what_is_timed_is_what_its_name_says():
    layer = small_layer()
    calls = layer_calls(layer, ["wavefront", "compiled"]).calls
    into = {name: calls[name]().data_ptr() for name in ("inverse", "forward", "fresh")}
    for name in ("inverse", "fresh", "wavefront"):
        torch.testing.assert_close(calls[name](), layer.x)
    for name in ("forward", *layer_timing.FASTEST["torch_forward"]):
        if name != "torch":
            torch.testing.assert_close(calls[name](), layer.z)
    assert into["inverse"] == calls["inverse"]().data_ptr() == into["forward"]
    kept = calls["fresh"]()
    assert calls["fresh"]().data_ptr() != kept.data_ptr() != into["inverse"]


def test_a_layer_of_one_corner_is_compared_with_one_padded_convolution():
    layer = Layer(torch.randn(2, 4, 6, 6), corner_weight(4, 3, groups=1))
    calls = layer_calls(layer, ["compiled"]).calls
    assert "torch" in calls and not {"four", "grouped", "dense"} & set(calls)
    torch.testing.assert_close(calls["torch"](), layer.z)


def test_plain_calls_and_hot_ones_are_timed_beside_graphs(monkeypatch):
    counts = dict.fromkeys(("solve_triangular_conv2d", "triangular_conv2d"), 0)
    layer = small_layer()
    calls = layer_calls(layer, ["compiled"], graphs=True).calls
    pairs = {"inverse": "solve_triangular_conv2d", "forward": "triangular_conv2d"}
    for name, function in pairs.items():
        original = getattr(layer_timing, function)

        def counted(*arguments, original=original, function=function, **options):
            counts[function] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(layer_timing, function, counted)
        for call, times in {name: 1, f"{name}_eager": 1, f"{name}_hot": HOT}.items():
            counts[function] = 0
            calls[call]()
            assert counts[function] == times


def times_of(**seconds):
    """Samples of calls whose times are these, in three rounds of which one is slow."""
    lines = [
        (name.replace("__", "/"), 0, number, 0, True, time * (10 if number == 2 else 1))
        for number in range(3)
        for name, time in seconds.items()
    ]
    names = ["call", "process", "round", "window", "quiet", "seconds"]
    return pd.DataFrame(lines, columns=names)


TIMES = {
    "x__inverse": 4.0,
    "x__inverse_again": 5.0,
    "x__forward": 2.0,
    "x__four": 3.0,
    "x__dense": 1.0,
    "x__1x1_conv2d": 0.5,
    "x__1x1_matmul": 0.25,
    "y__inverse": 1.0,
    "y__inverse_again": 1.0,
    "y__four": 3.0,
    "y__dense": 6.0,
    "y__1x1_conv2d": 0.5,
}


def test_the_fastest_of_each_part_is_what_is_divided_by():
    samples = times_of(**TIMES)
    found = fastest(samples)
    assert found == {
        "x": {"torch_forward": "dense", "pointwise": "1x1_matmul"},
        "y": {"torch_forward": "four", "pointwise": "1x1_conv2d"},
    }
    divided = [("inverse", "torch_forward"), ("torch_forward", "pointwise")]
    pairs = expand(layer_ratios(samples, divided), samples["call"].unique())
    assert pairs == {
        "x/inverse_vs_torch_forward": ("x/inverse", "x/dense"),
        "x/torch_forward_vs_pointwise": ("x/dense", "x/1x1_matmul"),
        "x/aa_inverse": ("x/inverse_again", "x/inverse"),
        "y/inverse_vs_torch_forward": ("y/inverse", "y/four"),
        "y/torch_forward_vs_pointwise": ("y/four", "y/1x1_conv2d"),
        "y/aa_inverse": ("y/inverse_again", "y/inverse"),
    }


@pytest.mark.parametrize("parts", [True, False])
def test_the_fastest_has_a_time_and_a_name(parts):
    """In the row of its part, or of the cell where there are no parts."""
    samples = times_of(**TIMES)
    samples = samples[samples["call"].str.startswith("x/")]
    values = {}
    for call, times in summaries(samples).items():
        assert call.startswith("x/")
        values |= times
    if parts:
        found = with_fastest(Block({"rounds": 3}, {"x": Part({}, values)}, samples))
        assert found.values == {"rounds": 3}
        row = found.parts["x"].values
    else:
        bare = samples.assign(call=samples["call"].str.removeprefix("x/"))
        row = with_fastest(Block(values, {}, bare)).values
    assert (row["fastest_torch_forward"], row["fastest_pointwise"]) == ("dense", "1x1_matmul")
    for end in ("_q25_s", "_s", "_q75_s"):
        assert row[f"torch_forward{end}"] == values[f"dense{end}"]
        assert row[f"pointwise{end}"] == values[f"1x1_matmul{end}"]
    assert row["torch_forward_s"] == 1.0 and row["torch_forward_q75_s"] > 1.0


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("solve_triangular_conv2d", "compiled has a round-trip error of"),
        ("triangular_conv2d", "the forward 'our' differs from torch's by"),
    ],
)
def test_what_is_wrong_is_not_timed(monkeypatch, broken, message):
    layer, original = small_layer(), getattr(layer_timing, broken)

    def wrong(*arguments, **options):
        return original(*arguments, **options) * 1.01

    monkeypatch.setattr(layer_timing, broken, wrong)
    with pytest.raises(Incorrect, match=message):
        layer_calls(layer, ["compiled"])
    monkeypatch.setattr(scaling, "time_calls", lambda *a, **k: pytest.fail("timed"))
    config = Scaling(channels=4, batch=2, points=["n4"])
    found = scaling.time_points(config, torch.device("cpu"), Process())
    parts, timed = found.parts, found.timed
    assert parts["n4"].status == "incorrect" and not timed


@pytest.mark.parametrize("kind", ["torch_forwards", "pointwise"])
def test_a_wrong_baseline_is_not_timed(monkeypatch, kind):
    original = getattr(layer_timing, kind)

    def wrong(*arguments):
        calls = original(*arguments)
        name, call = list(calls.items())[-1]
        return calls | {name: lambda: call() * 1.01}

    monkeypatch.setattr(layer_timing, kind, wrong)
    said = {
        "torch_forwards": "the forward 'dense_channels_last' differs",
        "pointwise": "the two 1×1",
    }
    with pytest.raises(Incorrect, match=said[kind]):
        layer_calls(small_layer(), ["compiled"])


def test_an_error_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setattr(layer_timing, "relative_error", lambda *_: math.nan)
    with pytest.raises(Incorrect, match="round-trip error of nan"):
        layer_calls(small_layer(), ["compiled"])


@pytest.mark.parametrize("point", ["", "n", "n0", "m4", "n-1", "n4.5", "4", "k²"])
def test_points_that_are_refused(point):
    with pytest.raises(ValueError, match="a point must be n or k and a size"):
        scaling.sizes(point)


def test_exponents_by_hand():
    sizes = np.array([8, 16, 32, 64])
    source = {"cell": "c", "machine": "m", "commit": "1"}
    times = {f"{name}_s": 1e-6 * sizes**2 for name in SERIES}
    rows = pd.DataFrame({"n": sizes, "k": 3, **times, **source})
    lines = exponents(rows)
    assert {str(line["in n"]) for line in lines} == {"2.00"}
    assert {line["in k"] for line in lines} == {"–"}


def test_no_rows(tmp_path):
    page = TABLE.write_page(read_table(tmp_path / "none.csv"), tmp_path).read_text()
    assert "Not yet measured: " in page


def test_the_inverse_takes_at_most_two_copies_of_its_input():
    """Its own result counted, in a process that has solved nothing as large before."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=100
    )
    assert 0.9 <= float(done.stdout) <= 2.0


def test_a_weights_gradient_takes_a_padded_image_for_each_thread():
    """Not one for each of 256 groups, 36 kB each."""
    done = subprocess.run(
        [sys.executable, "-c", GRADIENT_MEMORY],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert int(done.stdout) <= 2e6


def test_memory_is_seen():
    held = []
    extra = peak_extra_bytes(lambda: held.append(np.ones(10_000_000)), torch.device("cpu"))
    assert 75e6 <= extra <= 120e6


def test_the_page_says_where_jacobi_is_faster():
    rows = read_table(ROOT / "results" / "data" / "scaling.csv").head(4)
    ends = ("", "_low", "_high", "_low_all")
    ratios = {f"{scaling_page.JACOBI}{end}": 0.5 for end in ends}
    ratios |= {f"{scaling_page.TO_WAVEFRONT}{end}": 2.0 for end in ends}
    told = rows.assign(**ratios, **{f"{scaling_page.JACOBI}_high_all": 0.9})
    page = " ".join(TABLE.page(told).markdown().split())
    point = told["point"].iloc[0]
    assert "faster than our inverse at " in page and point in page
    assert "than the wavefront in torch nowhere" in page
    unknown = rows.drop(columns=[name for name in rows if str(name).startswith("inverse_jacobi")])
    assert "iteration win? Not yet measured." in " ".join(TABLE.page(unknown).markdown().split())


def test_jacobi_is_left_out_where_it_has_no_digits(monkeypatch):
    monkeypatch.setattr(scaling, "TOLERANCE", 0.0)
    values = measured(monkeypatch, "n4").parts["n4"].values
    assert "Jacobi" in values["jacobi_reason"] and "inverse_jacobi_s" not in values
