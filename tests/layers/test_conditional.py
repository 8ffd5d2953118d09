"""The flows behind variational dequantization: the authors' numbers, log_det and density."""

import math

import pytest
import torch
from recorded import largest_difference, recorded

from invconv.flows import ConditionalCouplings, ConditionalMaCow, MaCowFG, Scale
from invconv.flows import VariationalDequantization as Variational
from invconv.flows.conditional import run
from invconv.flows.conditional_macow import ContextEncoder, ResidualBlock
from invconv.flows.macow_steps import conditional_macow_step
from invconv.flows.published import MACOW_FG, MACOW_ORG
from invconv.layers.weight_norm import WeightNormConv2d, WeightNormUpsampling


def perturb(module, scale=0.1):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return module


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def copy(conv, arrays, prefix, names=("v", "g", "bias")):
    with torch.no_grad():
        for name in names:
            getattr(conv, name).copy_(arrays[f"{prefix}_{name}"])


def authors_parts(arrays):
    """One unit and the step of Glow; their ActNorm adds its bias after the scale."""
    parts = conditional_macow_step(3, 4, 2)
    parts = torch.nn.ModuleList(parts[:4] + parts[8:])
    for i, norm in enumerate((parts[0], parts[2], parts[4])):
        log_scale, bias = arrays[f"actnorm{i}_log_scale"], arrays[f"actnorm{i}_bias"]
        state = {"log_scale": log_scale, "bias": bias / log_scale.exp()}
        norm.load_state_dict(state | {"initialized": torch.tensor(True)})
    for i in range(4):
        part = parts[1 + 2 * (i // 2)]
        copy(part.layer.convs[i % 2].masked, arrays, f"conv{i}_masked")
        copy(part.layer.convs[i % 2].output, arrays, f"conv{i}_output")
        copy(part.contexts[i % 2], arrays, f"conv{i}_context")
    with torch.no_grad():
        parts[5].weight.copy_(arrays["mixing"])
    for name in ("first", "second", "last"):
        copy(getattr(parts[6], name), arrays, f"coupling_{name}")
    return parts


def test_the_authors_step_with_a_context():
    arrays = recorded("macow_context")
    parts = authors_parts(arrays)
    z, log_det = run(parts, arrays["x"], arrays["context"])
    assert largest_difference(z, arrays["z"]) < 1e-5
    assert largest_difference(log_det, arrays["log_det"]) < 2e-5
    z, _ = run(parts, arrays["x"], torch.zeros_like(arrays["context"]))
    assert largest_difference(z, arrays["z"]) > 0.1


def test_the_authors_encoder_and_its_initialization():
    arrays = recorded("macow_context")
    blocks = [ResidualBlock(2, 3), ResidualBlock(3, 3)]
    down = WeightNormConv2d(3, 4, (3, 3), (1, 1), stride=2)
    up = WeightNormUpsampling(4, 3)
    convs = {"down": down, "up": up, "block0_skip": blocks[0].skip}
    for i, block in enumerate(blocks):
        convs |= {f"block{i}_first": block.first, f"block{i}_second": block.second}
    with torch.no_grad():
        for name, conv in convs.items():  # a transposed weight is stored (C_in, C_out, 3, 3)
            v = arrays[f"encoder_{name}_v"]
            conv.v.copy_(v.transpose(0, 1) if name == "up" else v)
            conv.g.copy_(torch.linalg.vector_norm(conv.v, dim=(1, 2, 3)))
    x = arrays["image"]
    for layer in (*blocks, down, up):
        layer.initialize(x)
        x = layer(x)
    assert largest_difference(x, arrays["init_out"]) < 1e-5
    for name, conv in convs.items():
        for parameter in ("g", "bias"):
            found = getattr(conv, parameter)
            assert largest_difference(found, arrays[f"encoder_{name}_{parameter}"]) < 1e-5


def test_the_models_of_table_3_have_their_parameters():
    """The released cifar10-vdq.json: 1,205,876 of them behind the noise; printed is 38.4M."""
    flow = MaCowFG((3, 32, 32), **MACOW_ORG)
    assert count(flow) == 38_403_423
    assert count(flow.dequantization) == 1_205_876
    assert flow.dequantization_name == "variational_macow"
    config = MACOW_ORG | {"dequantization": "uniform"}
    del config["dequantization_options"]
    assert config == MACOW_FG


def test_encoder_goes_down_and_up():
    """Two blocks per resolution; 32, 64, 96 and 128 channels, and no more."""
    encoder = ContextEncoder(3, 4, halvings=4)
    widths = [layer.v.shape[:2] for layer in encoder if isinstance(layer, WeightNormConv2d)]
    down = [(64, 32), (96, 64), (128, 96), (128, 128)]
    assert widths == [*down, (128, 128), (96, 128), (64, 96), (32, 64), (4, 32)]
    assert sum(isinstance(layer, ResidualBlock) for layer in encoder) == 10
    assert ContextEncoder(3, 4, 1)(torch.randn(2, 3, 6, 4)).shape == (2, 4, 6, 4)


FLOWS = {
    "couplings": (lambda: ConditionalCouplings((1, 2, 2), steps=2, width=3), (1, 2, 2)),
    "couplings 2x4x2": (lambda: ConditionalCouplings((2, 4, 2), steps=2, width=3), (2, 4, 2)),
    "macow": (lambda: ConditionalMaCow((2, 1, 1), [1], [3], 2), (2, 1, 1)),
    "macow 2x4x2": (lambda: ConditionalMaCow((2, 4, 2), [1, 1], [3, 4], 2), (2, 4, 2)),
}


def make(name):
    build, shape = FLOWS[name]
    noise = Variational(Scale(5), build())
    noise.initialize(torch.randint(5, (30, *shape)), torch.get_default_dtype())
    return perturb(noise, 0.2), torch.randint(5, (1, *shape)).to(torch.get_default_dtype())


@pytest.mark.parametrize("name", FLOWS)
def test_log_q_is_that_of_the_dense_jacobian(name, float64):
    noise, x = make(name)
    epsilon = torch.randn_like(x)
    noise._epsilon = lambda x, generator: epsilon
    u, log_q = noise.noise(x, None)
    assert u.shape == x.shape
    assert log_q.shape == (1,)
    assert ((u > 0) & (u < 1)).all()

    def draw(values):
        noise._epsilon = lambda x, generator: values
        return noise.noise(x, None)[0]

    jacobian = torch.autograd.functional.jacobian(draw, epsilon).reshape(x.numel(), -1)
    log_normal = (-0.5 * (epsilon.square() + math.log(2 * math.pi))).sum()
    truth = log_normal - torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(log_q[0], truth)


def noise_at(noise, x, v):
    """u and log q(u|x) at u = σ(v) for v of shape (N, D): ε by Newton's method."""
    scaled = noise._scaled(x)

    def g(epsilon):
        return noise.flow(epsilon.view(scaled.shape), scaled)[0].flatten()

    jacobian = torch.func.vmap(torch.func.jacrev(g))
    epsilon = torch.linalg.solve(jacobian(torch.zeros_like(v[:1])), v[..., None])[..., 0]
    for _ in range(25):
        wrong = torch.func.vmap(g)(epsilon) - v
        if wrong.abs().max() < 1e-10:
            break
        epsilon = epsilon - torch.linalg.solve(jacobian(epsilon), wrong[..., None])[..., 0]
    else:
        pytest.fail(f"Newton's method left {wrong.abs().max():.1e}")
    noise._epsilon = lambda *_: epsilon.view(len(v), *x.shape[1:])
    with torch.no_grad():
        u, log_q = noise.noise(x.expand(len(v), *x.shape[1:]), None)
    torch.testing.assert_close(u.flatten(1), torch.sigmoid(v))
    return u.flatten(1), log_q


@pytest.mark.parametrize(("name", "nodes"), [("macow", 30), ("couplings", 12)])
def test_q_integrates_to_one_and_is_what_is_drawn(name, nodes, float64):
    """∫ q du = 1 by the trapezoidal rule in v = logit u, du = u(1 − u) dv; and a box's share."""
    noise, x = make(name)
    dimensions = x.numel()
    with torch.no_grad():
        drawn, _ = noise.noise(x.expand(50_000, *x.shape[1:]), None)
    drawn = drawn.flatten(1)
    v = drawn.logit()
    axes = [
        torch.linspace(float(low) - 3, float(high) + 3, nodes)
        for low, high in zip(v.amin(0), v.amax(0), strict=True)
    ]
    grid = torch.cartesian_prod(*axes)
    u, log_q = noise_at(noise, x, grid)
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    mass = (log_q.exp() * (u * (1 - u)).prod(1)) * cell
    assert float(mass.sum()) == pytest.approx(1, abs=2e-4)
    for k in range(dimensions):
        moment = float((mass * u[:, k]).sum())
        error = float(drawn[:, k].std()) / len(drawn) ** 0.5
        assert moment == pytest.approx(float(drawn[:, k].mean()), abs=5 * error + 2e-4)
    product = float((mass * (2 * u - 1).prod(1)).sum())
    sampled = (2 * drawn - 1).prod(1)
    error = float(sampled.std()) / len(drawn) ** 0.5
    assert product == pytest.approx(float(sampled.mean()), abs=5 * error + 2e-4)


def test_starts_close_to_uniform_whatever_the_image():
    """KL(σ(1.702·N(0, 1)) | U) = 0.01004 nats by quadrature."""
    noise = Variational(Scale(17), ConditionalCouplings((1, 8, 8)))
    images = torch.randint(17, (500, 1, 8, 8))
    noise.initialize(images, torch.float32)
    with torch.no_grad():
        u, log_q = noise.noise(images.float(), None)
    levels = torch.linspace(0.05, 0.95, 19)
    below = (u.flatten()[:, None] < levels).float().mean(0)
    assert (below - levels).abs().max() < 0.02
    assert float(log_q.mean()) / 64 == pytest.approx(0.01004, abs=0.003)


@pytest.mark.parametrize("name", ["couplings 2x4x2", "macow 2x4x2"])
def test_noise_depends_on_the_image_and_every_parameter_learns(name):
    noise, x = make(name)
    noise._epsilon = lambda x, generator: torch.zeros_like(x)
    here, there = noise.noise(x, None)[0], noise.noise(4 - x, None)[0]
    assert (here - there).abs().max() > 1e-3
    u, log_q = noise.noise(x, None)
    (u.square().sum() + log_q.sum()).backward()
    for name, parameter in noise.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_bad_options_get_one_sentence():
    with pytest.raises(ValueError, match="H and W must be even, not 3x4"):
        ConditionalCouplings((1, 3, 4))
    with pytest.raises(ValueError, match="steps must be an int of at least 1, not 0"):
        ConditionalCouplings((1, 4, 4), steps=0, width=8)
    with pytest.raises(ValueError, match="one entry per level, not 1 and 2"):
        ConditionalMaCow((3, 4, 4), [4], [24, 256])
    with pytest.raises(ValueError, match="steps must be an int of at least 1, not 0"):
        ConditionalMaCow((3, 4, 4), [4, 0], [24, 256])
    with pytest.raises(ValueError, match="divisible by 2, not 4x5"):
        ConditionalMaCow((3, 4, 5))
    with pytest.raises(ValueError, match="at least 2 channels, not 1"):
        ConditionalMaCow((1, 4, 4))
