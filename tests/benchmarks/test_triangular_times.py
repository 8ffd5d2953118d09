"""The CPU solver beside the best forward that torch has, interleaved: prints the ratios."""

import pytest
import torch

from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.bench import medians
from invconv.bench.baselines import corner_weight, flops, pointwise, torch_forwards
from invconv.numerical import relative_error
from invconv.solvers.problem import CORNERS

pytestmark = pytest.mark.full

TARGETS = {
    3: {
        0.45: [(4, 14), (8, 7), (12, 16), (12, 32), (12, 64)],
        0.75: [(24, 8), (24, 16), (24, 32), (48, 4), (48, 8), (48, 16)],
    },
    5: {0.6: [(12, 16), (24, 8), (48, 4)]},
}
"""k → largest ratio inverse ÷ torch's fastest forward at B = 100 → the (C, n) it is meant for."""
SHAPES = [
    (batch, c, n, k, target if batch == 100 else 0.8)
    for batch in (100, 1)
    for k, goals in TARGETS.items()
    if batch == 100 or k == 3
    for target, sizes in goals.items()
    for c, n in sizes
]
HEADER = (
    f"{'B,C,n,k':>14} {'torch ms':>9} {'fastest':>20} {'forward':>8} {'inverse':>8} {'fresh':>8} "
    f"{'1x1':>8} {'matmul':>8} | {'inv/torch':>9} {'target':>6} {'fwd/torch':>9} {'inv/fwd':>7} "
    f"{'GFLOP/s':>8}"
)


@pytest.fixture(scope="module", autouse=True)
def _header():
    product = torch.randn(1024, 1024)
    time = medians({"a": lambda: product @ product}, torch.device("cpu"), 20, 5)["a"]
    print(f"\nmatrix product 1024³: {2e-9 * 1024**3 / time:.0f} GFLOP/s")
    print(f"milliseconds, medians, {torch.get_num_threads()} threads\n{HEADER}")


@pytest.mark.parametrize(("batch", "c", "n", "k", "target"), SHAPES)
def test_inverse_beside_forward(benchmark, capsys, batch, c, n, k, target):
    weight = corner_weight(c, k)
    x = torch.randn(batch, c, n, n)
    z = triangular_conv2d(x, weight, corners=CORNERS)
    error = relative_error(solve_triangular_conv2d(z, weight, corners=CORNERS), x)
    assert error < 1e-5
    out = torch.empty_like(z)

    def inverse():
        return solve_triangular_conv2d(z, weight, corners=CORNERS, out=out)

    calls = {
        **torch_forwards(x, weight),
        "inverse": inverse,
        "fresh": lambda: solve_triangular_conv2d(z, weight, corners=CORNERS),
        "forward": lambda: triangular_conv2d(x, weight, corners=CORNERS, out=out),
        **pointwise(x, torch.randn(c, c)),
    }
    with torch.no_grad():
        repeats = 200 if batch == 1 else 30
        times = medians(calls, torch.device("cpu"), repeats, 5)
        ms = {name: 1e3 * time for name, time in times.items()}
        fastest = min(torch_forwards(x, weight), key=ms.__getitem__)
        best = ms[fastest]
        benchmark.group = f"inverse-B{batch}-k{k}"
        benchmark.extra_info.update(ms, fastest_torch_forward=fastest, target=target)
        benchmark.pedantic(inverse, rounds=10, warmup_rounds=1)
    gflops = 1e-6 * flops(x, weight) / ms["inverse"]
    with capsys.disabled():
        print(
            f"{f'{batch},{c},{n},{k}':>14} {best:9.3f} {fastest:>20} {ms['forward']:8.3f} "
            f"{ms['inverse']:8.3f} {ms['fresh']:8.3f} {ms['1x1 conv2d']:8.3f} "
            f"{ms['1x1 matmul']:8.3f} | {ms['inverse'] / best:9.2f} {target:6.2f} "
            f"{ms['forward'] / best:9.2f} {ms['inverse'] / ms['forward']:7.2f} {gflops:8.0f}"
        )
