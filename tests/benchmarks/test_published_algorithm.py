"""FInC's algorithm 1 beside what its authors' code took, and ours beside both."""

import pytest
import torch

from invconv import solve_triangular_conv2d
from invconv.bench import medians
from invconv.bench.baselines import corner_weight
from invconv.numerical import relative_error
from invconv.solvers.problem import CORNERS

pytestmark = pytest.mark.full

CPU = torch.device("cpu")
AUTHORS_MS = {
    (12, 16): 15.4,
    (12, 32): 62,
    (12, 64): 283,
    (24, 16): 42,
    (24, 32): 194,
    (48, 16): 139,
    (48, 32): 932,
}
"""The released Cython inverse of FInC, (C, n) at B = 100, k = 3, milliseconds; another machine."""


@pytest.mark.parametrize(("c", "n"), AUTHORS_MS)
def test_algorithm_1(benchmark, capsys, c, n):
    weight = corner_weight(c, 3)
    z = torch.randn(100, c, n, n)
    double, taps = z.double(), weight.double()

    def solve(method, z=z, weight=weight):
        return solve_triangular_conv2d(z, weight, corners=CORNERS, method=method)

    def one_thread():
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        solve("compiled", double, taps)
        torch.set_num_threads(threads)

    assert relative_error(solve("compiled"), solve("diagonal_channel", double, taps)) < 1e-5
    times = medians({"ours": lambda: solve("compiled"), "64": one_thread}, CPU, 15, 3)
    repeats = 5 if c * n < 1000 else 3
    times |= medians({"published": lambda: solve("diagonal_channel")}, CPU, repeats, 1)
    ms = {name: 1e3 * time for name, time in times.items()}
    benchmark.extra_info.update(ms, authors_ms=AUTHORS_MS[c, n])
    benchmark.pedantic(solve, ("compiled",), rounds=3)
    with capsys.disabled():
        print(
            f"\nC {c:2}, n {n:2}: algorithm 1 {ms['published']:.1f} ms "
            f"({ms['published'] / AUTHORS_MS[c, n]:.2f} of the authors' {AUTHORS_MS[c, n]}), "
            f"ours {ms['ours']:.2f} ms ({ms['published'] / ms['ours']:.0f} times faster), "
            f"in float64 on one thread {ms['64']:.2f} ms ({ms['published'] / ms['64']:.0f})",
            end="",
        )
