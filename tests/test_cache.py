"""What is kept for sampling is dropped when parameters change."""

import pytest
import torch

from invconv import Glow1x1, available, build
from invconv.cache import EvalCache


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("name", available())
def test_a_fused_step_is_seen(name, optimizer, float64):
    """It changes parameters without raising their versions."""
    layer = build(name, (4, 6, 5)).eval()
    x = torch.randn(2, 4, 6, 5)

    def outputs():
        with torch.no_grad():
            return (*layer(x), layer.inverse(x))

    before = outputs()
    z, log_det = layer(x)
    (z.square().sum() - log_det.sum()).backward()
    optimizer(layer.parameters(), lr=1e-3, fused=True).step()
    kept = outputs()
    assert not torch.equal(kept[0], before[0])
    torch.testing.assert_close(kept, outputs_in_training(layer, x))


def outputs_in_training(layer, x):
    """Computed anew."""
    layer.train()
    with torch.no_grad():
        return (*layer(x), layer.inverse(x))


def test_only_a_step_makes_it_compute_again():
    parameter = torch.nn.Parameter(torch.ones(2))
    caches, computed = [EvalCache(), EvalCache()], []

    def get():
        for cache in caches:
            with torch.no_grad():
                cache.get("sum", [parameter], False, lambda: computed.append(1) or parameter.sum())
        return len(computed)

    assert (get(), get()) == (2, 2)
    parameter.grad = torch.ones(2)
    optimizer = torch.optim.SGD([parameter], lr=0.1, fused=True)
    for steps in (1, 2):
        optimizer.step()
        assert (get(), get()) == (2 * steps + 2, 2 * steps + 2)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_traced_layer_holds_its_parameters():
    """Not what was computed from them before."""
    layer = Glow1x1(3).eval()
    x = torch.randn(1, 3, 4, 4)
    with torch.no_grad():
        before = layer(x)[0]
        traced = torch.jit.trace(layer, x)
        layer.weight.mul_(0.5)
        assert not torch.equal(layer(x)[0], before)
        torch.testing.assert_close(traced(x)[0], layer(x)[0])
