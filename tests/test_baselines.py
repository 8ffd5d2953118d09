"""What the solver is compared with computes the same."""

import pytest
import torch

from invconv import triangular_conv2d
from invconv.bench.baselines import corner_weight, flops, pointwise, torch_forwards, tuned


@pytest.mark.parametrize("k", [1, 2, 3])
def test_every_baseline_is_the_forward(k):
    x = torch.randn(3, 8, 5, 4)
    weight = corner_weight(8, k)
    truth = triangular_conv2d(x, weight, corners=("tl", "tr", "bl", "br"))
    for name, call in torch_forwards(x, weight).items():
        torch.testing.assert_close(call(), truth, rtol=1e-4, atol=1e-5, msg=name)


def test_pointwise():
    x, matrix = torch.randn(3, 8, 5, 4), torch.randn(8, 8)
    truth = torch.einsum("cd,bdhw->bchw", matrix, x)
    for call in pointwise(x, matrix).values():
        torch.testing.assert_close(call().view_as(x), truth, rtol=1e-4, atol=1e-4)


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
