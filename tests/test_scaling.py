"""The scaling sweep and its page."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from invconv.bench import layer_timing
from invconv.bench.baselines import corner_weight
from invconv.bench.layer_timing import Layer, time_layer
from invconv.bench.memory import peak_extra_bytes
from invconv.rows import Incorrect, read_table
from invconv.rows.provenance import ROOT
from invconv.solvers.problem import CORNERS
from invconv.tables.scaling import SERIES, TABLE, Scaling, exponents

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
    done = reproduce("scaling.py", "preset=tiny", "point=n4,k2,oops")
    assert done.returncode == 1
    assert "2 of 3 cells ok" in done.stdout
    assert "point must be n or k and a size" in done.stdout
    results = tmp_path / "runs" / "tiny" / "results"
    frame = read_table(results / "data" / "scaling.csv")
    ok = frame[frame["status"] == "ok"].set_index("point")
    assert ok.loc["n4", ["n", "k"]].tolist() == [4, 3]
    assert ok.loc["k2", ["n", "k"]].tolist() == [32, 2]
    assert (ok[["torch_forward_s", "inverse_s", "inverse_diagonal_channel_s"]] > 0).all(axis=None)
    assert (ok[["inverse_compiled_error", "inverse_wavefront_error"]] < 1e-4).all(axis=None)
    page = (results / "scaling.md").read_text()
    assert "oops | error |" in " ".join(page.split())
    assert "error: ValueError: point must be n or k and a size" in page
    assert len(list((results / "figures").glob("*.svg"))) == 1


def test_a_cell_has_the_name_that_it_had():
    """Rows that were measured before stay those of their settings."""
    rows = read_table(ROOT / "results" / "data" / "scaling.csv")
    assert TABLE.cell_of(Scaling(point="n8")) in set(rows["cell"])


def small_layer():
    return Layer(torch.randn(2, 4, 6, 6), corner_weight(4, 3), corners=CORNERS)


def test_a_layer_is_timed_with_what_it_is_compared_with():
    found = time_layer(small_layer(), ["wavefront", "compiled"], 2, 1)
    assert set(found.errors) == {"wavefront", "compiled"}
    assert max(found.errors.values()) < 1e-5
    names = {"inverse", "forward", "fresh", "four", "grouped", "dense", "1x1 conv2d", "wavefront"}
    assert names < set(found.times)
    assert not {"compiled", "inverse_eager", "again"} & set(found.times)
    for kind, ways in (("torch_forward", ("four", "dense")), ("pointwise", ("1x1 matmul",))):
        fastest = found.values[f"fastest_{kind}"]
        assert found.times[kind] == found.times[fastest]
        assert all(found.times[kind].median <= found.times[way].median for way in ways)
    assert found.values["input_bytes"] == 2 * 4 * 6 * 6 * 4
    assert found.values["aa_spread"] >= 0
    assert found.times["wavefront"].repeats == 1 and found.times["inverse"].repeats == 2


def test_plain_calls_are_timed_beside_graphs():
    found = time_layer(small_layer(), ["compiled"], 2, graphs=True)
    assert {"inverse_eager", "forward_eager"} < set(found.times)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("solve_triangular_conv2d", "compiled has a round-trip error of"),
        ("triangular_conv2d", "our forward differs from torch's by"),
    ],
)
def test_what_is_wrong_is_not_timed(monkeypatch, broken, message):
    layer, original = small_layer(), getattr(layer_timing, broken)

    def wrong(*arguments, **options):
        return original(*arguments, **options) * 1.01

    monkeypatch.setattr(layer_timing, broken, wrong)
    monkeypatch.setattr(layer_timing, "time_interleaved", lambda *a, **k: pytest.fail("timed"))
    with pytest.raises(Incorrect, match=message):
        time_layer(layer, ["compiled"], 1)


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
    assert "missing: no rows yet" in page


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
