"""What the solver is compared with computes the same."""

import pytest
import torch

from invconv import triangular_conv2d
from invconv.bench.baselines import corner_weight, flops, pointwise, torch_forwards, tuned
from invconv.bench.layer_timing import FASTEST, Layer, layer_calls
from invconv.rows.columns import Seconds, column_of
from invconv.solvers.problem import CORNERS
from invconv.tables.table import tables


@pytest.mark.parametrize("k", [1, 2, 3])
def test_every_baseline_is_the_forward(k):
    x = torch.randn(3, 8, 5, 4)
    weight = corner_weight(8, k)
    truth = triangular_conv2d(x, weight, corners=("tl", "tr", "bl", "br"))
    ways = torch_forwards(x, weight)
    assert {*ways, "torch"} == {*FASTEST["torch_forward"]}
    for name, call in ways.items():
        torch.testing.assert_close(call(), truth, rtol=1e-4, atol=1e-5, msg=name)


def test_pointwise():
    x, matrix = torch.randn(3, 8, 5, 4), torch.randn(8, 8)
    truth = torch.einsum("cd,bdhw->bchw", matrix, x)
    ways = pointwise(x, matrix)
    assert [*ways] == [*FASTEST["pointwise"]]
    for call in ways.values():
        torch.testing.assert_close(call().view_as(x), truth, rtol=1e-4, atol=1e-4)


def test_two_baselines_reuse_their_output_and_the_others_do_not():
    """A row says of our calls, too, whether they write into new memory."""
    x, matrix = torch.randn(3, 8, 5, 4), torch.randn(8, 8)
    reused = set()
    for name, call in {**torch_forwards(x, corner_weight(8, 3)), **pointwise(x, matrix)}.items():
        first, second = call(), call()
        reused |= {name} if first.data_ptr() == second.data_ptr() else set()
    assert reused == {"four", "1x1_matmul"}


def test_the_names_of_baselines_are_columns_of_rows():
    x = torch.randn(1, 4, 5, 5)
    layer = Layer(x, corner_weight(4, 3), corners=CORNERS)
    names = [*layer_calls(layer, [], verify=False).calls]
    for table in ("scaling", "gpu"):
        columns = tables()[table].columns
        for name in names:
            assert isinstance(column_of(f"{name}_q25_s", columns), Seconds), (table, name)


@pytest.mark.parametrize("before", [True, False])
def test_convolutions_are_tuned_on_a_gpu_alone(before, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", before)
    with tuned(torch.device("cpu")) as settings:
        assert torch.backends.cudnn.benchmark == before and settings == {}
    with pytest.raises(KeyError), tuned(torch.device("cuda")) as settings:
        assert torch.backends.cudnn.benchmark and settings == {"cudnn_benchmark": True}
        raise KeyError
    assert torch.backends.cudnn.benchmark == before


def test_flops():
    assert flops(torch.empty(2, 8, 5, 4), torch.empty(8, 2, 3, 3)) == 2 * 2 * 8 * 5 * 4 * 2 * 9
