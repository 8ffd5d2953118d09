"""The scaling sweep and its page."""

import subprocess
import sys

import numpy as np
import pandas as pd
import torch

from invconv.bench.memory import peak_extra_bytes
from invconv.report.scaling import SERIES, exponents, write_page
from invconv.rows import read_table

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
    small = ("batch=2", "channels=4", "repeats=2", "slow_repeats=1")
    done = reproduce("scaling.py", "point=n4,k2,oops", *small)
    assert done.returncode == 1
    assert "2 of 3 cells ok" in done.stdout
    assert "point must be n or k and a size" in done.stdout
    frame = read_table(tmp_path / "results" / "data" / "scaling.csv")
    ok = frame[frame["status"] == "ok"].set_index("point")
    assert ok.loc["n4", ["n", "k"]].tolist() == [4, 3]
    assert ok.loc["k2", ["n", "k"]].tolist() == [32, 2]
    assert (ok[["torch_forward_s", "inverse_s", "inverse_diagonal_channel_s"]] > 0).all(axis=None)
    page = (tmp_path / "results" / "scaling.md").read_text()
    assert "oops | error |" in " ".join(page.split())
    assert "error: ValueError: point must be n or k and a size" in page
    assert len(list((tmp_path / "results" / "figures").glob("*.svg"))) == 1


def test_exponents_by_hand():
    sizes = np.array([8, 16, 32, 64])
    source = {"cell": "c", "machine": "m", "commit": "1"}
    times = {f"{name}_s": 1e-6 * sizes**2 for name in SERIES}
    rows = pd.DataFrame({"n": sizes, "k": 3, **times, **source})
    lines = exponents(rows)
    assert {line["in n"] for line in lines} == {"2.00"}
    assert {line["in k"] for line in lines} == {"–"}


def test_no_rows(tmp_path):
    page = write_page(read_table(tmp_path / "none.csv"), tmp_path).read_text()
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
