"""Every method of the solver, over n and k, on FInC's four corners."""

import pytest
import torch

from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.bench.baselines import corner_weight
from invconv.numerical import relative_error
from invconv.solvers import FORWARD_METHODS, METHODS, resolve
from invconv.solvers.problem import CORNERS

CHANNELS, BATCH = 12, 100
QUICK = [(8, 3), (16, 3), (32, 3), (16, 2), (16, 5)]
FULL = [(n, k) for n in (8, 16, 32, 64, 128) for k in (2, 3, 5, 7) if (n, k) not in QUICK]
SLOW = {"reference": 8, "diagonal_channel": 32, "raster_serial": 32, "diagonal_channel_4": 32}
"""Method → the largest image that it is timed on without --full."""


def cases():
    """(operation, method, n, k)."""
    for operation, methods in (("solve", METHODS), ("convolve", FORWARD_METHODS)):
        for method in methods:
            for n, k in (*QUICK, *FULL):
                small = (n, k) in QUICK and n <= SLOW.get(method, n)
                marks = () if small else pytest.mark.full
                if small or method != "reference":
                    yield pytest.param(operation, method, n, k, marks=marks)


@pytest.mark.benchmark(max_time=0.2, min_rounds=5, warmup=True, warmup_iterations=1)
@pytest.mark.parametrize(("operation", "method", "n", "k"), list(cases()))
def test_solver(timed, device, operation, method, n, k):
    reason = (METHODS if operation == "solve" else FORWARD_METHODS)[method].missing(device)
    if reason:
        pytest.skip(reason)
    weight = corner_weight(CHANNELS, k).to(device)
    x = torch.randn(BATCH, CHANNELS, n, n, device=device)
    z = triangular_conv2d(x.double(), weight.double(), corners=CORNERS, method="torch").float()
    out = torch.empty_like(z)
    solve, given, wanted = solve_triangular_conv2d, z, x
    if operation == "convolve":
        solve, given, wanted = triangular_conv2d, x, z

    def call():
        return solve(given, weight, corners=CORNERS, method=method, out=out)

    labels = {"operation": operation, "layer": "solver", "n": n, "k": k}
    timed(
        call,
        relative_error(call(), wanted),
        resolve(method, device, inverse=operation == "solve"),
        channels=CHANNELS,
        batch=BATCH,
        **labels,
    )
