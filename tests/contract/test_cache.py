"""What is kept for sampling is dropped when parameters change."""

import copy

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
    ((z - 1).square().sum() - log_det.sum()).backward()  # ‖z‖ of an orthogonal layer is fixed
    optimizer(layer.parameters(), lr=1e-3, fused=True).step()
    kept = outputs()
    assert not torch.equal(kept[0], before[0])
    torch.testing.assert_close(kept, recomputed(layer, x))


def recomputed(layer, x):
    """By a copy, which has nothing in its cache."""
    layer = copy.deepcopy(layer)
    with torch.no_grad():
        return (*layer(x), layer.inverse(x))


class Counted:
    """A cached sum, and how often it was computed."""

    def __init__(self, parameter):
        self.parameter, self.cache, self.count = parameter, EvalCache(), 0

    def sum(self):
        self.count += 1
        return self.parameter.sum()

    def get(self):
        with torch.no_grad():
            return self.cache.get("sum", [self.parameter], False, self.sum)

    def counts(self, times=2):
        """The count after each of several calls."""
        return [(self.get(), self.count)[1] for _ in range(times)]


@pytest.mark.parametrize("device", ["cpu", "meta"])  # for whatever is no CPU
def test_only_a_step_makes_it_compute_again(device):
    parameter = torch.nn.Parameter(torch.ones(2, device=device))
    counted = Counted(parameter)
    assert counted.counts() == [1, 1]
    parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.SGD([parameter], lr=0.1, fused=device == "cpu")
    for steps in (1, 2):
        optimizer.step()
        assert counted.counts() == [steps + 1, steps + 1]


def test_a_write_through_numpy_is_seen():
    parameter = torch.nn.Parameter(torch.ones(2))
    counted = Counted(parameter)
    assert counted.get() == 2
    parameter.detach().numpy()[0] = 4
    assert counted.get() == 5
    assert counted.counts() == [2, 2]


def test_a_cached_value_that_was_changed_in_place_is_computed_again():
    layer = Glow1x1(3).eval()
    x = torch.randn(1, 3, 4, 4)
    with torch.no_grad():
        z = layer(x)[0]
        layer.matrix().zero_()
        torch.testing.assert_close(layer(x)[0], z)


def test_on_a_gpu_nothing_is_kept_while_others_may_write(monkeypatch):
    counted = Counted(torch.nn.Parameter(torch.ones(2, device="meta")))
    assert counted.counts() == [1, 1]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert counted.counts() == [2, 3]
    monkeypatch.undo()
    assert counted.counts() == [3, 3]
    monkeypatch.setattr("invconv.cache.shared_cache", {"handle": "storage"})
    assert counted.counts() == [4, 5]


def test_refresh_is_for_raw_writes_to_a_gpu():
    with torch.device("meta"):
        layer = build("emerging", (4, 6, 6), pointwise=True).eval()
    caches = [module._cache for module in (layer.mixing, layer.first, layer.second)]
    with torch.no_grad():
        layer(torch.empty(1, 4, 6, 6, device="meta"))
    assert all(cache._entries for cache in caches)
    layer.refresh()
    assert not any(cache._entries for cache in caches)


def train_elsewhere(layer):
    with torch.no_grad():
        layer.weight.mul_(0.5)


def test_another_process_trains_shared_parameters():
    layer = build("finc", (4, 6, 6)).eval().share_memory()
    x = torch.randn(2, 4, 6, 6)
    with torch.no_grad():
        before = layer.inverse(x)
        process = torch.multiprocessing.get_context("spawn").Process(
            target=train_elsewhere, args=(layer,)
        )
        process.start()
        process.join()
        assert process.exitcode == 0
        after = layer.inverse(x)
        assert not torch.equal(after, before)
        torch.testing.assert_close(layer(after)[0], x)


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
