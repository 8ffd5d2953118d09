"""Self-Normalizing Flows: the gradients of the paper, the penalty, the refined inverse."""

import math

import numpy as np
import pytest
import torch
from evaluated import EvaluatedSNF, evaluated
from recorded import largest_difference, recorded

from invconv import NumericalError, SelfNormalizingConv, build
from invconv.bench.counting import count_inverse
from invconv.layers import refinement
from invconv.testing import CHECKS, check_invertible_conv


def make(channels, kernel_size=3, noise=0.05, **options):
    """W = I + N, R = I − N + M with noise N, and M of half its size."""
    layer = SelfNormalizingConv(channels, kernel_size, **options)
    with torch.no_grad():
        n, m = (torch.randn_like(layer.weight) for _ in range(2))
        identity = torch.nn.init.dirac_(torch.empty_like(n))
        layer.weight.copy_(identity + noise * n)
        layer.inverse_weight.copy_(identity - noise * n + noise / 2 * m)
        if layer.shift is not None:
            layer.shift.normal_()
    return layer


def taps(k, height, width):
    """(i, j, rows and columns of z, rows and columns of x) of every tap that meets the image."""

    def reach(offset, size):
        low, high = max(0, -offset), min(size, size - offset)
        return slice(low, max(low, high)), slice(low + offset, max(low, high) + offset)

    for i in range(k):
        for j in range(k):
            (r, source_r), (c, source_c) = reach(i - k // 2, height), reach(j - k // 2, width)
            yield i, j, (..., r, c), (..., source_r, source_c)


def convolve(x, kernel):
    """W*x with zeros around x, in NumPy."""
    z = np.zeros_like(x)
    for i, j, there, here in taps(kernel.shape[2], *x.shape[2:]):
        z[there] += np.einsum("cd,bdhw->bchw", kernel[:, :, i, j], x[here])
    return z


def correlate(g, x, k):
    """The gradient of Σ g·(W*x) in W."""
    grad = np.zeros((g.shape[1], x.shape[1], k, k))
    for i, j, there, here in taps(k, *x.shape[2:]):
        grad[:, :, i, j] = np.einsum("bchw,bdhw->cd", g[there], x[here])
    return grad


def transposed(kernel):
    return np.flip(kernel, (2, 3)).swapaxes(0, 1)


def dense(kernel, shape):
    """The matrix of x ↦ W*x."""
    size = int(np.prod(shape))
    images = np.eye(size).reshape(size, *shape)
    return torch.from_numpy(convolve(images, kernel.detach().numpy()).reshape(size, size).T.copy())


SHAPES = [((2, 4, 3), 3), ((3, 2, 5), 5), ((1, 3, 3), 3), ((4, 3, 2), 1), ((2, 1, 4), 7)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("shape", "k"), SHAPES)
def test_training_gradients_are_the_formulas(shape, k, bias, float64):
    """Of a mean loss, as in the paper: the term of log_det is that of one image."""
    layer = make(shape[0], k, 0.3, bias=bias)
    x, g = torch.randn(3, *shape, requires_grad=True), torch.randn(3, *shape)
    z, log_det = layer(x)
    assert log_det.tolist() == [0, 0, 0]
    loss = (g * z).sum() - log_det.mean()
    loss.backward()
    w, r = (p.detach().numpy() for p in (layer.weight, layer.inverse_weight))
    x_, g_ = x.detach().numpy(), g.numpy()
    height, width = shape[1:]
    count = np.zeros((k, k))
    for i, j, there, _ in taps(k, height, width):
        count[i, j] = np.ones((height, width))[there].size
    image, on_x = convolve(x_, w), convolve(g_, transposed(w))
    truth = {
        "weight": (correlate(g_, x_, k) - count * transposed(r)) / 2,
        "inverse_weight": (-correlate(on_x, image, k) + count * transposed(w)) / 2,
        "x": on_x,
    }
    if bias:
        truth["shift"] = g_.sum((0, 2, 3))
        image = image + layer.shift.detach().numpy()[:, None, None]
    torch.testing.assert_close(z.detach().numpy(), image, rtol=0, atol=1e-12)
    found = {"x": x.grad, **{name: p.grad for name, p in layer.named_parameters()}}
    assert found.keys() == truth.keys()
    for name, grad in found.items():
        torch.testing.assert_close(grad.numpy(), truth[name], rtol=0, atol=1e-11, msg=name)


def test_each_half_is_half_of_the_exact_gradient_where_r_is_the_inverse(float64):
    """For k = 1: of the likelihood as a function of W, and of R with W = R⁻¹."""
    layer = make(3, 1, 0.3, bias=False)
    with torch.no_grad():
        layer.inverse_weight.copy_(torch.linalg.inv(layer.weight[:, :, 0, 0])[:, :, None, None])
    x = torch.randn(5, 3, 4, 2)

    def loss(matrix):
        z = torch.einsum("cd,bdhw->bchw", matrix, x)
        return z.pow(4).sum() / 5 - 8 * torch.linalg.slogdet(matrix).logabsdet

    w, r = (
        p.detach()[:, :, 0, 0].clone().requires_grad_()
        for p in (layer.weight, layer.inverse_weight)
    )
    loss(w).backward()
    loss(torch.linalg.inv(r)).backward()
    z, log_det = layer(x)
    (z.pow(4).sum() / 5 - log_det.mean()).backward()
    torch.testing.assert_close(layer.weight.grad[:, :, 0, 0], w.grad / 2)
    torch.testing.assert_close(layer.inverse_weight.grad[:, :, 0, 0], r.grad / 2)


@pytest.mark.parametrize(("shape", "k"), SHAPES)
def test_in_eval_mode_all_is_exact(shape, k, float64):
    layer = make(shape[0], k, 0.1).eval()
    x, g = torch.randn(2, *shape, requires_grad=True), torch.randn(2, *shape)
    z, log_det = layer(x)
    kernel = layer.weight.detach().requires_grad_()
    size = x[0].numel()
    basis = torch.eye(size).view(size, *shape)
    matrix = torch.nn.functional.conv2d(basis, kernel, padding=k // 2).reshape(size, size).T
    assert torch.equal(matrix, dense(layer.weight, shape))
    truth = torch.linalg.slogdet(matrix).logabsdet
    torch.testing.assert_close(log_det, truth.repeat(2))
    by_hand = (x.flatten(1) @ matrix.T).view(x.shape) + layer.shift[:, None, None]
    torch.testing.assert_close(z, by_hand)
    found = torch.autograd.grad((g * z).sum() + log_det.sum(), (x, layer.weight))
    expected = torch.autograd.grad((g * by_hand).sum() + 2 * truth, (x, kernel))
    torch.testing.assert_close(found, expected)


def test_the_penalty(float64):
    layer = make(2, 3, 0.2, penalty=7.0)
    x = torch.randn(3, 2, 4, 5, requires_grad=True)
    z = layer(x)[0]
    loss = layer.extra_loss(x, z)
    w, r = dense(layer.weight, (2, 4, 5)), dense(layer.inverse_weight, (2, 4, 5))
    y = x.detach().flatten(1)
    truth = 7 * (y - y @ w.T @ r.T).square().sum(1)
    torch.testing.assert_close(loss, truth)
    loss.sum().backward()
    assert x.grad is None and layer.shift.grad is None
    error = y - y @ w.T @ r.T
    images = {name: t.view(3, 2, 4, 5).numpy() for name, t in (("e", error), ("wx", y @ w.T))}
    on_r = -14 * correlate(images["e"], images["wx"], 3)
    back = (error @ r).view(3, 2, 4, 5).numpy()
    on_w = -14 * correlate(back, x.detach().numpy(), 3)
    torch.testing.assert_close(layer.inverse_weight.grad.numpy(), on_r)
    torch.testing.assert_close(layer.weight.grad.numpy(), on_w)
    assert not SelfNormalizingConv(2, penalty=0).double().extra_loss(x, z).any()


def from_authors():
    arrays = recorded("snf")
    layer = build("snf", (3, 5, 7), penalty=float(arrays["lambda_"]))
    names = {"weight": "weight", "inverse_weight": "inverse_weight", "shift": "bias"}
    layer.load_state_dict({ours: arrays[theirs] for ours, theirs in names.items()})
    return layer, arrays


def test_the_authors_numbers():
    layer, theirs = from_authors()
    x = theirs["x"].clone().requires_grad_()
    z, log_det = layer(x)
    assert largest_difference(z, theirs["z"]) < 1e-5
    ((theirs["gradient_z"] * z).sum() - log_det.mean()).backward()
    assert largest_difference(x.grad, theirs["gradient_x"]) < 1e-5
    for name, parameter in layer.named_parameters():
        grad = theirs[f"gradient_{name.replace('shift', 'bias')}"]
        assert largest_difference(parameter.grad, grad) < 2e-5, name
    layer.zero_grad()
    penalty = layer.extra_loss(x, z).mean()
    assert largest_difference(penalty, theirs["penalty"]) < 1e-5
    penalty.backward()
    for name in ("weight", "inverse_weight"):
        grad = getattr(layer, name).grad
        assert largest_difference(grad, theirs[f"penalty_gradient_{name}"]) < 2e-5, name
    layer.eval()
    assert largest_difference(layer(x)[1], theirs["log_det"]) < 2e-5
    with torch.no_grad():
        assert largest_difference(layer.inverse(theirs["z_in"]), theirs["x_out"]) < 1e-5
        layer.inverse_method = "published"
        assert largest_difference(layer.inverse(theirs["z_in"]), theirs["x_one_shot"]) < 1e-5
        assert largest_difference(theirs["x_one_shot"], theirs["x_out"]) > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_step_and_the_refined_inverse(dtype):
    layer = make(3).to(dtype).eval()
    shape = (3, 6, 5)
    z = torch.randn(4, *shape, dtype=dtype)
    w, r = (dense(p.double(), shape) for p in (layer.weight, layer.inverse_weight))
    y = (z - layer.shift.detach()[:, None, None]).flatten(1).double()
    truth = torch.linalg.solve(w, y.T).T.view(z.shape)
    tolerance = refinement.TOLERANCE[dtype]
    with torch.no_grad():
        x = layer.inverse(z, check=True)
        layer.inverse_method = "published"
        once = layer.inverse(z)
    torch.testing.assert_close(once.double(), (y @ r.T).view(z.shape), rtol=0, atol=1e-5)
    found = layer.refinement(z)
    residual = (y - y @ r.T @ w.T).norm(dim=1) / y.norm(dim=1)
    assert found.one_shot == pytest.approx(residual.max().item(), rel=1e-4)
    assert found.one_shot > 0.05
    assert found.residual <= tolerance
    error = (x.double() - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
    assert error.max() < 20 * tolerance
    identity = torch.eye(len(w))
    norm = torch.linalg.matrix_norm(identity - r @ w, 2).item()
    assert found.contraction == pytest.approx(norm, rel=1e-3)
    radius = torch.linalg.eigvals(identity - w @ r).abs().max().item()
    expected = np.log(tolerance / found.one_shot) / np.log(radius)
    assert 0.5 * expected < found.steps < 2 * expected
    assert layer.dependent_steps(6, 5) == 1 and not layer.exact


def test_each_step_multiplies_the_error_by_i_minus_rw(float64):
    layer, shape = make(2, bias=False), (2, 4, 4)
    w, r = dense(layer.weight, shape), dense(layer.inverse_weight, shape)
    z = torch.randn(1, *shape)
    truth = torch.linalg.solve(w, z.flatten())
    start = r @ z.flatten() - truth
    steps = layer.refinement(z).steps
    found = layer.inverse(z).flatten() - truth
    matrix = torch.linalg.matrix_power(torch.eye(32) - r @ w, steps)
    torch.testing.assert_close(found, matrix @ start, rtol=0, atol=1e-14)


def test_gradients_of_the_inverse_are_those_of_a_dense_solve(float64):
    """In W as if W had been inverted, also in training mode; R has none."""
    layer, shape = make(2), (2, 3, 4)
    z, g = torch.randn(2, *shape, requires_grad=True), torch.randn(2, *shape)
    found = torch.autograd.grad(
        (g * layer.inverse(z)).sum(),
        (z, layer.weight, layer.shift, layer.inverse_weight),
        allow_unused=True,
    )
    basis = torch.eye(24).view(24, *shape)
    matrix = torch.nn.functional.conv2d(basis, layer.weight, padding=1).reshape(24, 24).T
    y = (z - layer.shift[:, None, None]).flatten(1)
    x = torch.linalg.solve(matrix, y.T).T.view(z.shape)
    truth = torch.autograd.grad((g * x).sum(), (z, layer.weight, layer.shift))
    torch.testing.assert_close(found[:3], truth, rtol=0, atol=1e-9)
    assert found[3] is None


@pytest.mark.parametrize("wrong", ["zero", "opposite", "slow", "singular"])
def test_what_does_not_contract_is_refused(wrong, float64):
    layer, shape = make(2), (2, 4, 3)
    with torch.no_grad():
        if wrong == "zero":
            layer.inverse_weight.zero_()
        elif wrong == "opposite":
            layer.inverse_weight.neg_()
        elif wrong == "slow":
            layer.inverse_weight.mul_(0.02)
        else:
            layer.weight[0] = layer.weight[1]
    z = torch.randn(3, *shape)
    w, r = dense(layer.weight, shape), dense(layer.inverse_weight, shape)
    norm = torch.linalg.matrix_norm(torch.eye(len(w)) - r @ w, 2).item()
    with pytest.raises(NumericalError, match=r"cannot be refined: ‖I − R·W‖ is ") as caught:
        layer.inverse(z)
    said = str(caught.value)
    assert f"‖I − R·W‖ is {norm:.2g} or more" in said and "inverse_method='published'" in said
    assert caught.value.layer == "SelfNormalizingConv"
    assert caught.value.residual > 1e-12
    found = layer.refinement(z)
    assert found.contraction == pytest.approx(norm, rel=1e-2)
    assert found.residual == pytest.approx(caught.value.residual)
    assert found.steps <= refinement.MOST_STEPS


def test_a_residual_that_rounding_holds_up_will_do():
    """z in the direction that W shrinks a hundredfold: 1e-6 of it is below the rounding of W*x."""
    torch.manual_seed(3)
    left, right = (torch.linalg.qr(torch.randn(8, 8))[0] for _ in range(2))
    scale = torch.ones(8)
    scale[0] = 0.01
    layer = SelfNormalizingConv(8, 1, bias=False).eval()
    with torch.no_grad():
        layer.weight.copy_((left @ scale.diag() @ right)[:, :, None, None])
        layer.inverse_weight.copy_((right.T @ scale.reciprocal().diag() @ left.T)[..., None, None])
    z = left[:, :1].T.reshape(1, 8, 1, 1).repeat(4, 1, 5, 5).contiguous()
    found = layer.refinement(z)
    assert 1e-6 < found.residual < 2e-5
    layer.inverse(z, check=True)


def test_other_values_than_numbers_are_left_to_the_check():
    """One image that is not finite stops no other, and is no failure of the weights."""
    layer, z = make(2).eval(), torch.randn(3, 2, 4, 4)
    with torch.no_grad():
        truth = layer.inverse(z)
        z[1, 0, 0, 0] = torch.nan
        x = layer.inverse(z)
    assert largest_difference(x[::2], truth[::2]) < 1e-5
    assert not x[1].isfinite().all()
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] = torch.nan
    assert not layer.inverse(z[::2]).isfinite().any()


def test_log_det_of_large_images_is_refused_unless_asked_for(monkeypatch):
    layer, x = make(2, largest_log_det=71).eval(), torch.randn(1, 2, 6, 6)
    with pytest.raises(ValueError, match=r"dense matrix of 72×72 for .* largest_log_det is 71"):
        layer(x)
    layer.largest_log_det = 72
    layer(x)
    assert layer.train()(torch.randn(1, 2, 100, 100))[0].shape == (1, 2, 100, 100)
    assert SelfNormalizingConv(1).largest_log_det == 8192
    calls = []
    slogdet = torch.linalg.slogdet
    monkeypatch.setattr(torch.linalg, "slogdet", lambda a: calls.append(1) or slogdet(a))
    layer.eval()
    with torch.no_grad():
        for size in ((6, 6), (5, 6), (6, 6), (5, 6)):
            layer(torch.randn(2, 2, *size))
    assert len(calls) == 2


def test_training_raises_the_likelihood_and_keeps_r_an_inverse(float64):
    """Of correlated pixels; the loss that is shown has no log_det, the exact one falls."""
    torch.manual_seed(0)
    mixing = torch.linalg.qr(torch.randn(32, 32))[0] * torch.linspace(0.4, 1.6, 32)
    layer = SelfNormalizingConv(2, penalty=10.0)
    optimizer = torch.optim.Adam(layer.parameters(), lr=3e-3)

    def draw(count):
        return (torch.randn(count, 32) @ mixing).view(count, 2, 4, 4)

    def exact():
        with torch.no_grad():
            z, log_det = layer.eval()(held_out)
            layer.train()
            return (z.square().flatten(1).sum(1) / 2 - log_det).mean().item()

    held_out = draw(500)
    before = exact()
    for _ in range(300):
        x = draw(50)
        z, log_det = layer(x)
        loss = z.square().flatten(1).sum(1) / 2 - log_det + layer.extra_loss(x, z)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    after = exact()
    assert after < before - 0.3
    found = layer.refinement(held_out)
    assert found.contraction < 0.7
    assert found.residual <= 1e-12 < 1e-3 < found.one_shot
    layer.inverse(held_out, check=True)


def test_starts_as_released():
    torch.manual_seed(0)
    layer = SelfNormalizingConv(16, 3)
    noise = layer.weight.detach() - torch.nn.init.dirac_(torch.empty(16, 16, 3, 3))
    assert noise.std().item() == pytest.approx(0.01 * (2 / (2 * 16 * 9)) ** 0.5, rel=0.05)
    flipped = layer.weight.flip(2, 3).transpose(0, 1)
    assert torch.equal(layer.inverse_weight, flipped)
    assert 0.2 < layer.shift.std() / noise.std() < 5
    matrix = SelfNormalizingConv(16, 1).weight[:, :, 0, 0]
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(16))
    assert SelfNormalizingConv(1, 1).shift.isfinite().all()
    for bias in (True, False):
        layer = SelfNormalizingConv(5, 3, bias=bias)
        assert sum(p.numel() for p in layer.parameters()) == 2 * 9 * 25 + 5 * bias
    assert [layer.kernel_options(k) for k in (2, 3)] == [None, {"kernel_size": 3}]


MODE = "log_det is 0 in training mode, exact in eval mode"
HALF = "the gradient in W is shared with R in training mode"
EXCUSED = {
    "log_det_dense": MODE,
    "gradients": HALF,
    "gradient_through_the_round_trip": HALF,
    "double_use": HALF,
    **{name: MODE for name in CHECKS if name.startswith("cache_")},
    "another_size": MODE,
    "inference_mode": MODE,
    "torch_compile": "takes seconds",
}


def test_it_keeps_the_contract_in_training_mode():
    """In eval mode: `test_conformance.py`."""
    check_invertible_conv(
        lambda shape: build("snf", shape), [(2, 4, 3)], skip=EXCUSED, perturb=0.02
    )


@pytest.mark.parametrize(("shape", "options"), [((3, 2, 4), {}), ((2, 3, 2), {"bias": False})])
def test_it_keeps_the_contract_in_eval_mode(shape, options):
    excused = {"torch_compile": "takes seconds", "every_parameter": "no output depends on R"}
    check_invertible_conv(
        lambda s: evaluated(EvaluatedSNF, s, **options), [shape], skip=excused, perturb=0.02
    )


def test_bad_options_get_one_sentence():
    with pytest.raises(ValueError, match="kernel_size must be odd, not 2"):
        SelfNormalizingConv(3, 2)
    with pytest.raises(ValueError, match="penalty must be at least 0 and finite, not -1"):
        SelfNormalizingConv(3, penalty=-1)
    with pytest.raises(ValueError, match="largest_log_det must be an int of at least 1, not 0"):
        SelfNormalizingConv(3, largest_log_det=0)
    with pytest.raises(ValueError, match="known: auto, published"):
        SelfNormalizingConv(3, inverse_method="refined")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(0, 3), (3, 0), (0, 0)])
def test_images_without_pixels(size, training):
    layer, x = SelfNormalizingConv(2).train(training), torch.randn(3, 2, *size)
    z, log_det = layer(x)
    assert z.shape == layer.inverse(z).shape == layer.published_inverse(z).shape == x.shape
    assert log_det.tolist() == layer.extra_loss(x, z).tolist() == [0, 0, 0]


@torch.no_grad()
def test_what_needs_no_log_det_has_no_largest_size():
    layer, x = make(2, largest_log_det=71).eval(), torch.randn(1, 2, 6, 6)
    z = layer.latent(x)
    assert layer.inverse(z, check=True).shape == x.shape
    layer.largest_log_det = 72
    assert torch.equal(layer(x)[0], z)


@torch.no_grad()
def test_an_inverse_is_counted_by_the_steps_that_it_takes():
    layer, shape = make(2).eval(), (2, 6, 6)
    z = torch.randn(1, *shape)
    recorded = layer.recordable_inverse(z)
    torch.testing.assert_close(recorded(z), layer.inverse(z), rtol=1e-5, atol=1e-6)
    torch.manual_seed(0)
    counted = count_inverse(layer, shape)
    torch.manual_seed(0)
    steps = layer.refinement(torch.randn(1, *shape)).steps
    convolution = 36 * 2 * 2 * 9
    assert 2 * (steps + 1) * convolution <= counted < 1.2 * 2 * (steps + 1) * convolution
    layer.inverse_method = "published"
    assert convolution <= count_inverse(layer, shape) < 1.2 * convolution
    assert layer.tolerance == math.inf
