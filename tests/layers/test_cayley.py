"""Cayley convolutions: orthogonal, circular, as dense matrices and as the authors' own."""

import copy

import numpy as np
import pytest
import torch
from recorded import largest_difference, recorded

from invconv import Cayley, build
from invconv.layers import frequencies

SHAPES = [(1, 4, 5), (2, 3, 6), (3, 5, 3), (4, 2, 4), (5, 1, 3)]


def make(channels, kernel_size, gain=3.0):
    layer = Cayley(channels, kernel_size)
    with torch.no_grad():
        layer.gain.fill_(gain)
    return layer


def dense(layer, shape):
    """(I − A)⁻¹·(I + A) with A = M − Mᵀ, where M is the circular convolution in space."""
    kernel = layer.gain * layer.weight / layer.weight.norm()
    k = layer.kernel_size
    anchor = (k - 1) // 2
    x = torch.eye(shape[0] * shape[1] * shape[2]).view(-1, *shape)
    z = torch.zeros_like(x)
    for i in range(k):
        for j in range(k):
            moved = x.roll((anchor - i, anchor - j), (2, 3))
            z = z + torch.einsum("cd,bdhw->bchw", kernel[:, :, i, j], moved)
    matrix = z.flatten(1).T
    skew = matrix - matrix.T
    identity = torch.eye(len(skew))
    return torch.linalg.solve(identity - skew, identity + skew)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_layer_is_the_cayley_transform_of_a_convolution(
    shape, kernel_size, float64, monkeypatch
):
    """Values, the inverse and all gradients, for a batch that is transformed in parts."""
    monkeypatch.setattr(frequencies, "VALUES_PER_PART", 2 * shape[0] * shape[1] * shape[2])
    layer = make(shape[0], kernel_size)
    matrix = dense(layer, shape)
    x = torch.randn(5, *shape, requires_grad=True)
    z, log_det = layer(x)
    truth = (x.flatten(1) @ matrix.T).view_as(x)
    torch.testing.assert_close(z, truth, rtol=0, atol=1e-10)
    torch.testing.assert_close(layer.inverse(z), x, rtol=0, atol=1e-10)
    y = (x.flatten(1) @ matrix).view_as(x)
    torch.testing.assert_close(layer.inverse(x), y, rtol=0, atol=1e-10)
    assert log_det.tolist() == [0] * 5
    assert torch.linalg.slogdet(matrix).logabsdet.abs() < 1e-10

    weight = torch.randn(2, *x.shape)
    leaves = x, layer.weight, layer.gain
    ours = (weight[0] * z + weight[1] * layer.inverse(x)).sum()
    grads = torch.autograd.grad(ours, leaves, retain_graph=True)
    theirs = torch.autograd.grad((weight[0] * truth + weight[1] * y).sum(), leaves)
    for a, b in zip(grads, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("gain", [0.0, 0.1, 3.0, 100.0])
def test_no_kernel_amplifies_an_error(gain, float64):
    """The condition number of the dense Jacobian is 1, after steps of an optimizer, too."""
    layer = make(3, 3, gain)
    x = torch.randn(2, 3, 4, 5)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1.0, weight_decay=0.5)
    for _ in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda a: layer(a[None])[0][0], x[0])
        singular = torch.linalg.svdvals(jacobian.reshape(60, 60))
        torch.testing.assert_close(singular, torch.ones(60), rtol=0, atol=1e-10)
        optimizer.zero_grad()
        (layer(x)[0] - x.roll(1, 1)).square().mean().backward()
        optimizer.step()


def test_commutes_with_shifts_and_sees_every_pixel(float64):
    layer = make(2, 3)
    x = torch.randn(1, 2, 5, 6)
    torch.testing.assert_close(
        layer(x.roll((1, -2), (2, 3)))[0], layer(x)[0].roll((1, -2), (2, 3))
    )
    impulse = torch.zeros(1, 2, 5, 6)
    impulse[0, 1, 0, 0] = 1
    assert layer(impulse)[0].abs().min() > 1e-6


def by_the_formulas_of_nux(x, v, g):
    """NuX's layer in NumPy: full FFTs, (B, H, W, C) images and (k, k, out, in) kernels, k odd."""
    height, width = x.shape[1:3]
    w = g * v / np.linalg.norm(v)
    k = len(w)
    padded = np.zeros((height, width, *w.shape[2:]))
    for i in range(k):  # flipped, and the center at (0, 0)
        for j in range(k):
            padded[(k // 2 - i) % height, (k // 2 - j) % width] += w[i, j]
    w_hat = np.fft.fft2(padded, axes=(0, 1))
    a = w_hat - w_hat.conj().swapaxes(2, 3)
    identity = np.eye(len(a[0, 0]))
    both = []
    for sign in (1, -1):
        x_hat = np.fft.fft2(x, axes=(1, 2))
        y = np.einsum("abij,nabj->nabi", np.linalg.inv(identity - sign * a), x_hat)
        z_hat = y + sign * np.einsum("abij,nabj->nabi", a, y)
        z = np.fft.ifft2(z_hat, axes=(1, 2))
        assert abs(z.imag).max() < 1e-12
        both.append(z.real)
    return both


@pytest.mark.parametrize(("shape", "k"), [((3, 5, 4), 3), ((2, 6, 7), 5), ((4, 3, 3), 1)])
def test_the_formulas_of_nux(shape, k, float64):
    layer = make(shape[0], k, gain=-1.7)
    x = torch.randn(2, *shape)
    v = layer.weight.detach().permute(2, 3, 0, 1).numpy()
    z, y = by_the_formulas_of_nux(x.permute(0, 2, 3, 1).numpy(), v, layer.gain.item())
    for found, truth in ((layer(x)[0], z), (layer.inverse(x), y)):
        truth = torch.from_numpy(truth).permute(0, 3, 1, 2)
        torch.testing.assert_close(found.detach(), truth, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("c", "k", "n"), [(3, 3, 6), (2, 2, 4), (2, 5, 8)])
def test_the_authors_numbers(c, k, n):
    """Theirs has −W, and α is the norm of Ŵ over the frequencies that rfft2 keeps."""
    names = "weight", "alpha", "x", "z"
    arrays = recorded("cayley")
    weight, alpha, x, z = (arrays[f"c{c}_k{k}_n{n}_{name}"] for name in names)
    layer = Cayley(c, k)
    with torch.no_grad():
        layer.weight.copy_(weight)
        norm = frequencies.spectrum(weight, n, n).abs().square().sum().sqrt()
        layer.gain.copy_(-alpha * weight.norm() / norm)
    assert largest_difference(layer(x)[0], z) < 1e-5
    assert largest_difference(layer.inverse(z), x) < 1e-5

    for wrong in (weight.flip(2, 3), weight.mT, weight.transpose(0, 1), -weight):
        other = copy.deepcopy(layer)
        other.weight = torch.nn.Parameter(wrong.contiguous())
        assert largest_difference(other(x)[0], z) > 0.1


def test_eval_mode_solves_once_per_size_and_weight(monkeypatch):
    layer = make(2, 3).eval()
    calls = []
    solve = torch.linalg.solve
    monkeypatch.setattr(torch.linalg, "solve", lambda *a: calls.append(1) or solve(*a))
    with torch.no_grad():
        for size in ((4, 5), (4, 5), (5, 4), (4, 5)):
            layer.inverse(torch.randn(1, 2, *size))
        assert len(calls) == 2
        layer.gain.mul_(2)
        x = torch.randn(1, 2, 4, 5)
        torch.testing.assert_close(layer.inverse(layer(x)[0]), x, rtol=0, atol=1e-5)
    assert len(calls) == 4


def test_start_and_parameter_count():
    torch.manual_seed(0)
    layer = Cayley(16, 3)
    assert layer.weight.std().item() == pytest.approx(1, rel=0.05)
    assert layer.kernel().norm().item() == pytest.approx(1)
    assert sum(p.numel() for p in Cayley(5, 3).parameters()) == 9 * 5 * 5 + 1


def test_a_kernel_of_zeros_is_the_identity():
    layer = Cayley(2)
    with torch.no_grad():
        layer.weight.zero_()
    x = torch.randn(1, 2, 4, 4)
    z = layer(x)[0]
    torch.testing.assert_close(z, x)
    z.sum().backward()
    assert layer.gain.grad.isfinite().all()


@pytest.mark.parametrize("size", [(0, 3), (3, 0), (0, 0)])
def test_images_without_pixels(size):
    layer, x = Cayley(2), torch.randn(3, 2, *size)
    z, log_det = layer(x)
    assert z.shape == layer.inverse(z).shape == x.shape
    assert log_det.tolist() == [0, 0, 0]


def test_bad_options_get_one_sentence():
    with pytest.raises(ValueError, match="kernel_size must be at least 1, not 0"):
        Cayley(3, 0)
    with pytest.raises(ValueError, match="known: auto"):
        Cayley(3).inverse_method = "published"
    with pytest.raises(TypeError, match="known: kernel_size"):
        build("cayley", (3, 4, 4), bias=True)
