"""What plans should cost, without a GPU."""

import pytest

from invconv.solvers.cuda.cost import LAUNCH_CYCLES, STEP_CYCLES, Step, fold_cycles
from invconv.solvers.cuda.inverse import plan_solve
from invconv.solvers.cuda.plan import H100, SizedProblem


def finc(channels, n, batch=100, k=3):
    return SizedProblem(batch, 4, channels, n, n, (k, k), (k - 1, k - 1), 0, False)


def test_one_warp_issues_at_most_one_product_per_cycle():
    assert Step(100, 8, 0, 0).cycles(1) == STEP_CYCLES + 100
    assert Step(100, 1, 0, 0).cycles(1) == STEP_CYCLES + 400
    # 100 instructions of 32 warps by four schedulers
    assert Step(60, 8, 0, 40).cycles(32) == 800


def test_columns_that_threads_share_are_folded_in_rounds():
    g = finc(12, 16)
    assert (g.taps + 1) * g.channels == 108
    assert fold_cycles(g, 108) == fold_cycles(g, 500)
    assert fold_cycles(g, 54) == 2 * fold_cycles(g, 108)


@pytest.mark.parametrize("channels", [3, 6, 12])
def test_larger_images_and_batches_cost_more(channels):
    costs = {}
    for n in (16, 32, 64):
        for batch in (100, 400):
            g = finc(channels, n, batch)
            costs[n, batch] = plan_solve(g, H100).cycles
    assert costs[16, 100] < costs[32, 100] < costs[64, 100]
    assert costs[16, 100] < costs[16, 400]
    assert min(costs.values()) > LAUNCH_CYCLES
