"""MintNet: its map, log_det and gradients by dense matrices, its inverse, and the whole net."""

import math

import pytest
import torch
from recorded import largest_difference, recorded

from invconv import MintNetPair, NumericalError, build
from invconv.bench.counting import count_inverse, count_parameters
from invconv.flows import MintNet, Squeeze, load
from invconv.flows.files import CheckpointError
from invconv.flows.published import MINTNET
from invconv.layers.fixed_point import Rule, iterate
from invconv.testing import CHECKS, check_invertible_conv


def make(shape, gain=1.0, **options):
    """A layer with weights and t that training can make, t of both signs."""
    layer = MintNetPair(shape, **options)
    return with_weights(layer, gain)


def with_weights(module, gain):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith(".t"):
                parameter.uniform_(0.5, 1.5).mul_(torch.randn_like(parameter).sign())
            elif "weight" in name:
                torch.nn.init.xavier_normal_(parameter, gain)
    return module


def may_see(i, j, dy, dx, mirrored):
    """Whether channel i of a tile may see channel j at an offset, written out."""
    if mirrored:
        i, j, dy, dx = -i, -j, -dy, -dx
    return j < i or (j == i and (dy < 0 or (dy == 0 and dx <= 0)))


def matrix(weight, channels, size, mirrored):
    """A zero-padded masked convolution as a matrix, from (outputs, inputs, k, k)."""
    height, width = size
    outputs, inputs, k, _ = weight.shape
    rows = weight.new_zeros(outputs, height, width, inputs, height, width)
    for o in range(outputs):
        for i in range(inputs):
            for dy in range(-(k // 2), k // 2 + 1):
                for dx in range(-(k // 2), k // 2 + 1):
                    if not may_see(o % channels, i % channels, dy, dx, mirrored):
                        continue
                    for y in range(max(0, -dy), min(height, height - dy)):
                        for x in range(max(0, -dx), min(width, width - dx)):
                            tap = weight[o, i, dy + k // 2, dx + k // 2]
                            rows[o, y, x, i, y + dy, x + dx] = tap
    return rows.flatten(0, 2).flatten(1)


def signed(block, channels):
    """W2 with the signs of the central taps, in loops."""
    w1, w2, w3 = block.weight1, block.weight2.clone(), block.weight3
    c = w1.shape[-1] // 2
    for a in range(len(w2)):
        for b in range(len(w2)):
            i = a % channels
            if i == b % channels:
                sign = w3[i, a, c, c].sign() * w1[b, i, c, c].sign()
                w2[a, b, c, c] = sign * block.weight2[a, b, c, c].abs()
    return w2


def dense_block(block, x, mirrored):
    """f(x) and the Jacobian of one image, (C, H, W)."""
    channels, *size = x.shape
    weights = block.weight1, signed(block, channels), block.weight3
    m1, m2, m3 = (matrix(weight, channels, size, mirrored) for weight in weights)
    biases = block.bias1, block.bias2, block.bias3
    b1, b2, b3 = (bias.repeat_interleave(math.prod(size)) for bias in biases)
    t = block.t.abs().flatten()
    first = m1 @ x.flatten() + b1
    second = m2 @ torch.where(first > 0, first, first.exp() - 1) + b2
    z = m3 @ torch.where(second > 0, second, second.exp() - 1) + b3 + t * x.flatten()
    s1, s2 = (torch.where(a > 0, 1.0, a.exp()) for a in (first, second))
    jacobian = m3 @ (s2[:, None] * m2) @ (s1[:, None] * m1) + t.diag()
    return z.view(x.shape), jacobian


def dense(layer, x):
    """z, the Jacobian of both blocks together, and that of each."""
    y, a = dense_block(layer.blocks[0], x, mirrored=False)
    z, b = dense_block(layer.blocks[1], y, mirrored=True)
    return z, b @ a, (a, b)


SHAPES = [
    ((1, 4, 3), {}),
    ((3, 3, 2), {"latent_multiplier": 2}),
    ((2, 2, 5), {"kernel_size": 5, "latent_multiplier": 1}),
    ((3, 1, 2), {"kernel_size": 1, "latent_multiplier": 3}),
]


@pytest.mark.parametrize(("shape", "options"), SHAPES)
def test_the_map_and_log_det_by_dense_matrices(shape, options, float64):
    layer = make(shape, **options)
    x = torch.randn(3, *shape)
    z, log_det = layer(x)
    for image, found, value in zip(x, z, log_det, strict=True):
        truth, jacobian, (a, b) = dense(layer, image)
        torch.testing.assert_close(found, truth, rtol=0, atol=1e-12)
        torch.testing.assert_close(value, torch.linalg.slogdet(jacobian).logabsdet)
        assert not a.triu(1).any() and not b.tril(-1).any()
        for block, one in zip(layer.blocks, (a, b), strict=True):
            assert (one.diagonal() >= block.t.abs().flatten()).all()


@pytest.mark.parametrize(("shape", "options"), SHAPES)
def test_gradients_are_those_of_the_dense_map(shape, options, float64):
    layer = make(shape, **options)
    x, weight = torch.randn(shape, requires_grad=True), torch.randn(shape)
    leaves = (x, *layer.parameters())

    def gradients(z, log_det):
        return torch.autograd.grad((weight * z).sum() + log_det, leaves)

    z, log_det = layer(x[None])
    truth, jacobian, _ = dense(layer, x)
    wanted = gradients(truth, torch.linalg.slogdet(jacobian).logabsdet)
    for found, one in zip(gradients(z[0], log_det[0]), wanted, strict=True):
        torch.testing.assert_close(found, one, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("method", ["auto", "published"])
@pytest.mark.parametrize(("shape", "options"), SHAPES)
def test_the_inverse_and_its_gradients(shape, options, method, float64):
    """dx/dz = J⁻¹, and dx/dθ = −J⁻¹·∂f/∂θ, by a dense solve."""
    layer = make(shape, inverse_method=method, **options)
    x, weight = torch.randn(2, *shape), torch.randn(2, *shape)
    z = layer(x)[0].detach().requires_grad_()
    again = layer.inverse(z)
    torch.testing.assert_close(again, x, rtol=0, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(layer.inverse(z), x, rtol=0, atol=1e-10)
    found = torch.autograd.grad((weight * again).sum(), (z, *layer.parameters()))
    adjoint = torch.stack(
        [
            torch.linalg.solve(dense(layer, image)[1].T, one.flatten()).view(shape)
            for image, one in zip(x, weight, strict=True)
        ]
    ).detach()
    torch.testing.assert_close(found[0], adjoint, rtol=1e-9, atol=1e-9)
    truth = torch.autograd.grad(-(adjoint * layer(x)[0]).sum(), tuple(layer.parameters()))
    for one, other in zip(found[1:], truth, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("frozen", [False, True])
def test_second_derivatives_of_the_inverse_are_refused(frozen, float64):
    layer = make((2, 3, 2), latent_multiplier=1)
    layer.requires_grad_(not frozen)
    z = torch.randn(1, 2, 3, 2, requires_grad=True)
    (grad,) = torch.autograd.grad(layer.inverse(z).sum(), z, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        grad.sum().backward()


@pytest.mark.parametrize(("gain", "most"), [(0.5, 12), (1.0, 14), (2.0, 30)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_far_fewer_iterations_than_the_released_hundred(gain, most, seed, float64):
    torch.manual_seed(seed)
    layer = with_weights(MintNetPair((3, 16, 16), 16, tolerance=1e-6), gain)
    z = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        count = layer.iterations(z)
        residual = layer(layer.inverse(z))[0] - z
    assert count.shape == (4, 2) and count.min() > 0
    assert count.max() <= most
    assert (residual.flatten(1).norm(dim=1) < 1e-4 * z.flatten(1).norm(dim=1)).all()


def test_an_inverse_takes_as_many_iterations_as_it_says(monkeypatch):
    from invconv.layers import mintnet_block

    layer, calls = make((2, 4, 4)), []
    evaluate = mintnet_block.evaluate
    monkeypatch.setattr(mintnet_block, "evaluate", lambda *a: calls.append(1) or evaluate(*a))
    z = torch.randn(1, 2, 4, 4)
    with torch.no_grad():
        layer.inverse(z)
    # of each block f(0), and a last look at the residual
    assert len(calls) == layer.iterations(z).sum() + 2 * 2


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_float32_reaches_its_tolerance_in_each_block(gain):
    layer = make((3, 8, 8), gain, latent_multiplier=16)
    z = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        count = layer.iterations(z)
        x = layer.inverse(z)
        residual = layer(x)[0] - z
        rough = MintNetPair((3, 8, 8), 16, tolerance=1e-3)
        rough.load_state_dict(layer.state_dict())
        assert (rough.iterations(z) < count).all()
    assert count.max() < 40
    assert residual.norm() < 2e-5 * z.norm()


def test_a_residual_may_rise_on_its_way():
    """A triangular system with large entries, whose error grows before it leaves."""
    system = torch.eye(6, dtype=torch.float64) + 8 * torch.ones(6, 6).double().tril(-1)
    x = torch.randn(1, 1, 1, 6, dtype=torch.float64)
    z = x @ system.T
    residuals = []

    def gap(y):
        missing = z - y @ system.T
        residuals.append(missing.norm().item())
        return missing, torch.ones_like(y)

    scale = z.flatten(1).norm(dim=1)
    found, count, residual = iterate(gap, z, scale, Rule(1.0, 1e-12, 20))
    assert max(residuals) > 10 * residuals[0]
    torch.testing.assert_close(found, x)
    assert count.tolist() == [5] or residual.item() <= 1e-12


def test_what_does_not_arrive_gets_one_sentence(float64):
    torch.manual_seed(1)
    layer = with_weights(MintNetPair((1, 6, 6), 8), 30.0)
    z = torch.randn(3, 1, 6, 6)
    for call in (layer.inverse, layer.iterations):
        with pytest.raises(
            NumericalError, match=r"in \d of 3 images .* use newton_lr=2"
        ) as caught:
            call(z)
        assert caught.value.layer == "MintNetPair"
        assert not caught.value.residual <= 1e-11


def test_a_slower_iteration_arrives_more_often(float64):
    failures = {1.0: 0, 2.0: 0}
    for rate in failures:
        for seed in range(7):
            torch.manual_seed(seed)
            layer = MintNetPair((1, 6, 6), 8, newton_lr=rate)
            with torch.no_grad():
                for name, parameter in layer.named_parameters():
                    if "weight" in name:
                        torch.nn.init.xavier_normal_(parameter, 12.0)
                z = torch.randn(2, 1, 6, 6)
                try:
                    layer.inverse(z)
                except NumericalError as error:
                    assert "after 200 iterations" in str(error)
                    failures[rate] += 1
    assert failures[2.0] < failures[1.0]


def test_an_image_that_is_not_finite_is_no_fault_of_the_others(float64):
    layer = make((2, 3, 4))
    z = torch.randn(3, 2, 3, 4)
    with torch.no_grad():
        truth = layer.inverse(z)
        for bad in (torch.nan, torch.inf):
            z[1, 0, 1, 1] = bad
            x = layer.inverse(z)
            torch.testing.assert_close(x[::2], truth[::2])
            assert not x[1].isfinite().all()
            with pytest.raises(ValueError, match="1 of 72 values"):
                layer.inverse(z, check=True)


def test_zero_has_an_inverse():
    """As sampling at temperature 0 asks for."""
    layer = make((2, 3, 4))
    with torch.no_grad():
        x = layer.inverse(torch.zeros(2, 2, 3, 4), check=True)
        assert layer(x)[0].abs().max() < 1e-5


def test_a_t_that_vanishes_leaves_an_inverse(float64):
    layer = make((1, 3, 3), latent_multiplier=16)
    with torch.no_grad():
        layer.blocks[0].t[0, 1, 1] = 0
        layer.blocks[1].t[0, 0, 2] = -1e-20
        x = torch.randn(2, 1, 3, 3)
        z, log_det = layer(x)
        assert log_det.isfinite().all()
        torch.testing.assert_close(layer.inverse(z, check=True), x)


def test_the_published_algorithm_takes_a_hundred_iterations(float64, monkeypatch):
    from invconv.layers import mintnet_block

    layer, calls = make((2, 3, 4), released_lr=3.5, inverse_method="published"), []
    assert layer.solver(torch.device("cpu")) == "published"
    assert make((2, 3, 4)).solver(torch.device("cpu")) == "fixed point"
    evaluate = mintnet_block.evaluate
    monkeypatch.setattr(mintnet_block, "evaluate", lambda *a: calls.append(1) or evaluate(*a))
    x = torch.randn(2, 2, 3, 4)
    with torch.no_grad():
        z = layer(x)[0]
        calls.clear()
        torch.testing.assert_close(layer.inverse(z), x, rtol=0, atol=1e-8)
    assert len(calls) == 2 * 101


def test_the_published_algorithm_keeps_the_contract():
    """Some checks; all of them take minutes, as each inverse is of 200 steps."""
    some = ("inverse_of_forward", "gradients_of_inverse", "check_argument", "built_on_meta")
    some += ("func_vmap", "gradients_in_low_precision", "zero_batch")
    why = {name: "takes minutes" for name in CHECKS if name not in some}
    options = {"latent_multiplier": 1, "inverse_method": "published"}
    check_invertible_conv(lambda shape: build("mintnet", shape, **options), [(2, 2, 3)], skip=why)


@pytest.mark.filterwarnings("ignore")
def test_only_the_published_algorithm_can_be_recorded():
    example, other = torch.randn(2, 2, 3, 4), torch.randn(5, 2, 3, 4)

    class Inverse(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, z):
            return self.layer.inverse(z)

    layer = make((2, 3, 4), 0.5)
    with torch.no_grad():
        with pytest.raises(RuntimeError, match='set inverse_method="published"'):
            torch.jit.trace(Inverse(layer), example)
        with pytest.raises(RuntimeError, match='set inverse_method="published"'):
            torch.export.export(Inverse(layer), (example,))
        layer.inverse_method = "published"
        traced = torch.jit.trace(Inverse(layer), example, check_trace=False)
        torch.testing.assert_close(traced(other), layer.inverse(other))


@pytest.mark.slow
def test_operations_of_an_inverse_are_those_of_its_iterations():
    layer = make((2, 6, 6))
    published = make((2, 6, 6), inverse_method="published")
    published.load_state_dict(layer.state_dict())
    count, hundred = count_inverse(layer, (2, 6, 6)), count_inverse(published, (2, 6, 6))
    torch.manual_seed(0)
    z = torch.randn(1, 2, 6, 6)
    with torch.no_grad():
        taken = layer.iterations(z).sum().item()
        again = layer.recordable_inverse(z)(z)
        torch.testing.assert_close(again, layer.inverse(z), rtol=1e-4, atol=1e-5)
    assert count == pytest.approx((taken + 4) * hundred / 200, rel=0.2)


def test_weights_are_masked_once_while_sampling(monkeypatch):
    from invconv.layers import mintnet_block

    calls, mask = [], mintnet_block.tile_mask
    monkeypatch.setattr(mintnet_block, "tile_mask", lambda *a: calls.append(1) or mask(*a))
    layer = make((2, 3, 4)).eval()
    with torch.no_grad():
        for _ in range(3):
            layer.inverse(torch.randn(1, 2, 3, 4))
            layer(torch.randn(1, 2, 3, 4))
    assert len(calls) == 2 * 2


@pytest.mark.parametrize(
    ("channels", "multiplier", "size"), [(1, 45, (9, 8)), (3, 4, (7, 9)), (5, 1, (8, 8))]
)
def test_parameter_counts(channels, multiplier, size):
    layer = build("mintnet", (channels, *size), latent_multiplier=multiplier)
    stored, free = count_parameters(layer, (channels, *size))
    pixels = math.prod(size)

    def of_a_block(tile):
        weights = tile * (2 * multiplier + multiplier**2)
        return weights + 2 * channels * multiplier + channels + channels * pixels

    assert stored == 2 * of_a_block(9 * channels**2)
    assert free == 2 * of_a_block(9 * channels * (channels - 1) // 2 + 5 * channels)


def test_starts_as_released():
    layer = MintNetPair((8, 4, 4), latent_multiplier=8)
    for block in layer.blocks:
        for weight, bias in (
            (block.weight1, block.bias1),
            (block.weight2, block.bias2),
            (block.weight3, block.bias3),
        ):
            outputs, inputs, *_ = weight.shape
            std = 0.005 * math.sqrt(2 / (9 * (outputs + inputs)))
            assert weight.std().item() == pytest.approx(std, rel=0.05)
            bound = 1 / math.sqrt(9 * inputs)
            assert 0.5 * bound < bias.abs().max() <= bound
        assert (block.t == 1).all()


@pytest.mark.parametrize(
    ("shape", "kernel_size"),
    [((2, 3, 4), 3), ((3, 4, 3), 3), ((3, 2, 3), 1), ((1, 3, 3), 5)],
)
def test_dependent_steps_are_the_longest_chain(shape, kernel_size, float64):
    layer = make(shape, latent_multiplier=2, kernel_size=kernel_size)
    steps = 0
    for block in dense(layer, torch.randn(shape))[2]:
        before = (block != 0) & ~torch.eye(len(block), dtype=torch.bool)
        depth = torch.ones(len(block))
        for _ in range(len(block)):
            depth = torch.where(before, depth, 0.0).amax(1) + 1
        steps += int(depth.max())
    assert steps == layer.dependent_steps(*shape[1:])


def test_iterations_are_fewer_than_dependent_steps():
    layer = make((3, 32, 32))
    assert layer.dependent_steps(32, 32) == 2 * (2 * 31 + 32 + 2 * 4)
    with torch.no_grad():
        count = layer.iterations(torch.randn(1, 3, 32, 32)).sum()
    assert 4 * count < layer.dependent_steps(32, 32)


def test_bad_options_get_one_sentence():
    with pytest.raises(ValueError, match="kernel_size must be odd, not 4"):
        MintNetPair((3, 4, 4), kernel_size=4)
    with pytest.raises(ValueError, match="latent_multiplier must be an int of at least 1, not 0"):
        MintNetPair((3, 4, 4), 0)
    for rate in (0.5, math.nan, math.inf, "1"):
        with pytest.raises(ValueError, match="newton_lr must be a number above 1/2, not"):
            MintNetPair((3, 4, 4), newton_lr=rate)
        with pytest.raises(ValueError, match="released_lr must be a number above 1/2, not"):
            MintNetPair((3, 4, 4), released_lr=rate)
    for tolerance in (0, 1, math.nan, "small"):
        with pytest.raises(ValueError, match="tolerance must be None or between 0 and 1, not"):
            MintNetPair((3, 4, 4), tolerance=tolerance)
    with pytest.raises(ValueError, match="built for that size, not for 5×4"):
        MintNetPair((3, 4, 4))(torch.randn(1, 3, 5, 4))
    with pytest.raises(ValueError, match="known: auto, published"):
        MintNetPair((3, 4, 4), inverse_method="fast")
    with pytest.raises(TypeError, match="known: latent_multiplier, kernel_size, newton_lr"):
        build("mintnet", (3, 4, 4), bias=True)
    assert MintNetPair.kernel_options(5) == {"kernel_size": 5}
    assert MintNetPair.kernel_options(2) is None


def copy_pair(pair, arrays, prefix=""):
    """The authors' weights; their t has a batch dimension."""
    state = {
        f"blocks.{i}.{name}": arrays[f"{prefix}{i}.{name}"]
        for i in range(2)
        for name in ("weight1", "bias1", "weight2", "bias2", "weight3", "bias3")
    }
    state |= {f"blocks.{i}.t": arrays[f"{prefix}{i}.t"][0] for i in range(2)}
    pair.load_state_dict(state)


def test_the_authors_pair_of_blocks():
    arrays = recorded("mintnet_pair")
    layer = MintNetPair((3, 5, 7))
    copy_pair(layer, arrays)
    with torch.no_grad():
        z, log_det = layer(arrays["x"])
        assert largest_difference(z, arrays["z"]) < 1e-5
        assert largest_difference(log_det, arrays["log_det"]) < 1e-4
        for method in ("auto", "published"):
            layer.inverse_method = method
            assert largest_difference(layer.inverse(arrays["z_in"]), arrays["x_out"]) < 1e-5
        layer.blocks = layer.blocks[::-1]
        assert largest_difference(layer(arrays["x"])[0], arrays["z"]) > 0.1


def test_the_authors_net():
    """Two layers with a space-to-depth between them."""
    arrays = recorded("mintnet_net")
    flow = MintNet((1, 6, 6), 2, 8, halvings=1, conv_options={"released_lr": 3.5})
    pairs = [part for _, part in flow.parts() if isinstance(part, MintNetPair)]
    for pair, number in zip(pairs, (0, 2), strict=True):
        copy_pair(pair, arrays, f"layers.{number}.")
    with torch.no_grad():
        (z,), log_det = flow.encode(arrays["x"])
        assert largest_difference(z, arrays["z"]) < 1e-5
        assert largest_difference(log_det, arrays["log_det"]) < 1e-4
        for method in ("auto", "published"):
            for pair in pairs:
                pair.inverse_method = method
            x = flow.decode([arrays["z_in"].view(2, 4, 3, 3)])
            assert largest_difference(x, arrays["x_out"]) < 1e-5


def test_the_order_of_the_space_to_depth():
    x = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    part = Squeeze("pixel")
    z, log_det = part(x)
    for c in range(3):
        for i in range(2):
            for j in range(2):
                assert torch.equal(z[:, 3 * (2 * i + j) + c], x[:, c, i::2, j::2])
    assert torch.equal(part.inverse(z), x) and log_det.tolist() == [0, 0]
    assert torch.equal(Squeeze()(x)[0], torch.nn.functional.pixel_unshuffle(x, 2))
    with pytest.raises(ValueError, match="unknown order 'last'; known: channel, pixel"):
        Squeeze("last")


@pytest.mark.parametrize(
    ("name", "shape", "stored"),
    [("mnist", (1, 28, 28), 805_272), ("cifar10", (3, 32, 32), 27_460_944)],
)
def test_the_released_nets_have_their_parameters(name, shape, stored):
    with torch.device("meta"):
        flow = MintNet(shape, **MINTNET[name])
    assert sum(parameter.numel() for parameter in flow.parameters()) == stored
    first = MINTNET[name]["latent_multiplier"]
    pairs = [[p for p in level if isinstance(p, MintNetPair)] for level in flow.levels]
    multipliers = [{pair.latent_multiplier for pair in level} for level in pairs]
    assert multipliers == [{first}, {first // 4}, {first // 16}]
    layers = MINTNET[name]["layers"]
    assert [len(level) for level in pairs] == [
        layers // 3,
        layers // 3,
        layers - 2 * (layers // 3),
    ]
    assert flow.latent_shapes == [(16 * shape[0], shape[1] // 4, shape[2] // 4)]
    if name == "cifar10":
        with torch.device("meta"):
            assert repr(MintNet().levels) == repr(flow.levels)


def small_net(**options):
    return MintNet((2, 4, 8), 4, 16, bins=17, **options)


def test_encode_decode_and_log_det(float64):
    flow = with_weights(small_net(), 0.5)
    y = torch.randn(2, 2, 4, 8)
    latents, log_det = flow.encode(y)
    assert [tuple(latent.shape[1:]) for latent in latents] == flow.latent_shapes == [(32, 1, 2)]
    with torch.no_grad():
        torch.testing.assert_close(flow.decode(latents, check=True), y, rtol=0, atol=1e-9)
    jacobian = torch.autograd.functional.jacobian(lambda a: flow.encode(a[None])[0][0], y[0])
    truth = torch.linalg.slogdet(jacobian.reshape(64, 64)).logabsdet
    torch.testing.assert_close(log_det[0], truth)


def test_the_net_learns_samples_and_is_saved(tmp_path):
    flow = small_net(conv_options={"newton_lr": 1.1})
    images = torch.randint(17, (4, 2, 4, 8))
    flow.initialize(images)
    flow.log_prob(images).sum().backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert flow.eval().sample(3, check=True).shape == (3, 2, 4, 8)
    assert flow.sample(1, temperature=0.0).dtype == torch.uint8
    assert flow.log_prob(images[:0]).shape == (0,)
    assert flow.sample(0).shape == (0, 2, 4, 8)
    flow.save(tmp_path / "flow.pt")
    assert repr(load(tmp_path / "flow.pt")) == repr(flow)
    saved = torch.load(tmp_path / "flow.pt", weights_only=True)
    saved["recipe"]["flow"]["layers"] = 10**9
    torch.save(saved, tmp_path / "flow.pt")
    with pytest.raises(CheckpointError):
        load(tmp_path / "flow.pt")


def test_a_bad_net_gets_one_sentence():
    with pytest.raises(ValueError, match="layers must be an int of at least 3, not 2"):
        MintNet((1, 8, 8), layers=2)
    with pytest.raises(ValueError, match="latent_multiplier must be an int of at least 16"):
        MintNet((1, 8, 8), latent_multiplier=15)
    with pytest.raises(ValueError, match="divisible by 4, not 6x8"):
        MintNet((1, 6, 8))
    with pytest.raises(TypeError, match="no option 'kernel'"):
        small_net(conv_options={"kernel": 3})
