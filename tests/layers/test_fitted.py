"""Taps that are fitted to data in closed form."""

import pytest
import torch

from invconv import CInC, Emerging, FInC, TriangularConv
from invconv.flows import MultiScaleFlow
from invconv.layers import fitted

LAYERS = {
    "finc": lambda: FInC(8, init="data"),
    "cinc": lambda: CInC(3, init="data"),
    "cinc_unit": lambda: CInC(3, diagonal="unit", init="data"),
    "center": lambda: TriangularConv(4, (3, 4), corners=("tr", "bl"), anchor=(1, 2), init="data"),
    "upper": lambda: TriangularConv(3, (2, 3), corners="br", upper=True, init="data"),
    "point": lambda: TriangularConv(3, (1, 1), diagonal="learned", init="data"),
}


def smooth(channels, seed=0, batch=12):
    """Images whose pixels depend on their neighbors and channels."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, 9, 8, generator=generator)
    for axis, shift, weight in ((2, 1, 0.7), (3, 1, 0.5), (3, -1, 0.3), (1, 1, 0.4)):
        x = x + weight * x.roll(shift, axis)
    return 3 * x + torch.arange(channels)[:, None, None]


@pytest.mark.parametrize("name", LAYERS)
def test_no_other_taps_leave_less(name, monkeypatch):
    monkeypatch.setattr(fitted, "RIDGE", 0.0)
    layer = LAYERS[name]().double()
    x = smooth(layer.channels).double()
    layer.initialize(x)
    centered = x - x.mean((0, 2, 3), keepdim=True)
    z, log_det = layer(centered)
    # of a linear flow with a scale for each channel; log_det holds that of a learned diagonal
    squares = z.square().mean((0, 2, 3))
    loss = 0.5 * squares.log().sum() * 72 - log_det[0]
    (gradient,) = torch.autograd.grad(loss, layer.weight)
    assert gradient.abs().max() < 1e-8
    if layer.diagonal == "learned":
        torch.testing.assert_close(squares, torch.ones_like(squares))
    torch.testing.assert_close(layer.inverse(z.detach()), centered)


def test_less_is_left_than_by_random_taps():
    x = smooth(8)
    random, layer = FInC(8), FInC(8, init="data")
    layer.initialize(x)
    with torch.no_grad():
        left, before = (one(x)[0].var((0, 2, 3)) for one in (layer, random))
    assert (left < before).all() and left.mean() < 0.5 * before.mean()


def test_it_happens_once_and_is_kept_in_files():
    layer, x = FInC(8, init="data"), smooth(8)
    assert not layer.initialized
    layer.initialize(x)
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    assert state["initialized"]
    layer.initialize(smooth(8, seed=1))
    torch.testing.assert_close(layer.state_dict(), state)
    again = FInC(8, init="data")
    again.load_state_dict(state)
    again.initialize(smooth(8, seed=1))
    torch.testing.assert_close(again.state_dict(), state)


def test_by_default_nothing_is_fitted():
    layer = FInC(8)
    before = layer.weight.clone()
    layer.initialize(smooth(8))
    assert torch.equal(layer.weight, before)
    assert "initialized" not in layer.state_dict()


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("mask", ["square", "raster"])
def test_emergings_second_convolution_is_fitted_to_what_the_first_leaves(mask, dilation):
    x = smooth(4)
    layer = Emerging(4, mask=mask, dilation=dilation, pointwise=True, init="data")
    layer.initialize(x)
    with torch.no_grad():
        z = layer(x - x.mean((0, 2, 3), keepdim=True))[0]
    assert layer.first.initialized and layer.second.initialized
    assert (z.var((0, 2, 3)) - 1).abs().max() < 0.2  # the second's are of the first phase alone


def test_a_bound_on_the_inverse_still_holds():
    layer = FInC(8, max_growth=2.0, init="data")
    layer.initialize(smooth(8))
    weight = layer.triangular_weight()
    others = weight.abs().sum((1, 2, 3)) - 1
    assert (others <= 0.5 + 1e-6).all()


def test_a_flow_begins_with_fewer_bits():
    torch.manual_seed(0)
    images = (40 * smooth(4, batch=16) + 128).clamp(0, 255).byte()[:, :, :8]
    bits = []
    for init in ("random", "data"):
        torch.manual_seed(0)
        flow = MultiScaleFlow("finc", (4, 8, 8), 1, 1, 8, {"init": init})
        flow.initialize(images)
        with torch.no_grad():
            bits.append(-flow.log_prob(images).mean().item())
    assert bits[1] < bits[0]


def test_what_cannot_be_fitted():
    with pytest.raises(ValueError, match="unknown init 'zeros'"):
        FInC(8, init="zeros")
    layer = FInC(8, init="data")
    x = smooth(8)
    x[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="x holds 1 of"):
        layer.initialize(x)
    with pytest.raises(ValueError, match="there are no values to fit taps to"):
        layer.initialize(torch.zeros(0, 8, 3, 3))
    assert not layer.initialized
