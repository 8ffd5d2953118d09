"""Periodic convolutions: circular, wrapped, and the same in space and in frequencies."""

import pytest
import torch

from invconv import Periodic, build
from invconv.layers import frequencies, periodic


def by_definition(x, weight):
    """z[c, h, w] = Σ W[c, d, i, j]·x[d, (h + i − a) mod H, (w + j − a) mod W], in rolls."""
    k = weight.shape[2]
    anchor = (k - 1) // 2
    z = torch.zeros_like(x)
    for i in range(k):
        for j in range(k):
            moved = x.roll((anchor - i, anchor - j), (2, 3))
            z += torch.einsum("cd,bdhw->bchw", weight[:, :, i, j], moved)
    return z


def make(channels, kernel_size):
    layer = Periodic(channels, kernel_size)
    with torch.no_grad():
        layer.weight.add_(0.1 * torch.randn_like(layer.weight))
    return layer


@pytest.mark.parametrize("through_frequencies", [False, True])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("shape", [(1, 4, 5), (2, 3, 6), (3, 5, 3), (4, 2, 4), (5, 1, 3)])
def test_both_ways_are_the_definition(
    shape, kernel_size, through_frequencies, float64, monkeypatch
):
    if through_frequencies:
        monkeypatch.setattr(periodic, "LARGEST_DIRECT_KERNEL", 0)
        monkeypatch.setattr(frequencies, "VALUES_PER_PART", 2 * shape[0] * shape[1] * shape[2])
    layer = make(shape[0], kernel_size)
    x = torch.randn(5, *shape)
    z, log_det = layer(x)
    torch.testing.assert_close(z, by_definition(x, layer.weight), rtol=0, atol=1e-10)
    torch.testing.assert_close(layer.inverse(z), x, rtol=0, atol=1e-10)
    columns = by_definition(torch.eye(x[0].numel()).view(-1, *shape), layer.weight)
    truth = torch.linalg.slogdet(columns.flatten(1)).logabsdet
    torch.testing.assert_close(log_det, truth.repeat(5), rtol=0, atol=1e-9)


def test_spectrum_is_that_of_the_layer(float64):
    layer = make(2, 3)
    x = torch.randn(1, 2, 4, 5)
    z_hat = torch.einsum("uvcd,bduv->bcuv", layer.spectrum(4, 5), torch.fft.rfft2(x))
    torch.testing.assert_close(z_hat, torch.fft.rfft2(layer(x)[0]))


def test_spectrum_of_a_float32_layer_is_not_rounded():
    """log_det and the inverse are computed in double precision from the stored weight."""
    layer = make(3, 3)
    double = Periodic(3).double()
    double.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer.spectrum(6, 5), double.spectrum(6, 5), rtol=0, atol=1e-14)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_inverse_of_the_published_algorithm(kernel_size, float64):
    layer = build("periodic", (3, 4, 6), kernel_size=kernel_size, inverse_method="published")
    fast = Periodic(3, kernel_size)
    fast.load_state_dict(layer.state_dict())
    assert layer.solver(torch.device("cpu")) == "published"
    assert fast.solver(torch.device("cpu")) == "fft"
    z = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(layer.inverse(z, check=True), fast.inverse(z, check=True))


def test_sampling_inverts_the_frequencies_once_per_size(monkeypatch):
    layer = make(2, 3).eval()
    calls = []
    invert = torch.linalg.inv
    monkeypatch.setattr(torch.linalg, "inv", lambda a: calls.append(1) or invert(a))
    with torch.no_grad():
        for size in ((4, 5), (4, 5), (5, 4), (4, 5)):
            layer.inverse(torch.randn(1, 2, *size))
    assert len(calls) == 2


def test_starts_as_a_rotation_with_a_little_noise():
    torch.manual_seed(0)
    for kernel_size, center in ((1, 0), (2, 0), (3, 1), (4, 1), (5, 2)):
        weight = Periodic(32, kernel_size).weight.detach()
        rotation = weight[:, :, center, center].clone()
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(32), rtol=0, atol=0.5)
        if kernel_size > 1:
            others = torch.ones(kernel_size, kernel_size, dtype=torch.bool)
            others[center, center] = False
            assert weight[:, :, others].std().item() == pytest.approx(0.02, rel=0.05)
    assert sum(p.numel() for p in Periodic(5, 3).parameters()) == 5 * 5 * 9


def test_bad_options_get_one_sentence():
    with pytest.raises(ValueError, match="kernel_size must be at least 1, not 0"):
        Periodic(3, 0)
    with pytest.raises(ValueError, match="known: auto, published"):
        Periodic(3, inverse_method="fast")
    with pytest.raises(TypeError, match="known: kernel_size, inverse_method"):
        build("periodic", (3, 4, 4), bias=True)
    z = torch.zeros(1, 2, 4, 4)
    z[0, 1, 2, 3] = torch.nan
    with pytest.raises(ValueError, match="1 of 32 values"):
        Periodic(2).inverse(z, check=True)


@pytest.mark.parametrize("size", [(0, 3), (3, 0), (0, 0)])
def test_images_without_pixels(size):
    layer, x = Periodic(2), torch.randn(3, 2, *size)
    z, log_det = layer(x)
    assert z.shape == layer.inverse(z).shape == x.shape
    assert log_det.tolist() == [0, 0, 0]
    assert Periodic(2, inverse_method="published").inverse(z).shape == x.shape
