"""Flow parts and the multi-scale flow."""

import pytest
import torch

import invconv
from invconv.flows import (
    ActNorm,
    AffineCoupling,
    MultiScaleFlow,
    SplineActivation,
    Split,
    Squeeze,
)
from invconv.flows.steps import PAPER_STEPS


def perturb(module, scale=0.05):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return module


def small_flow(conv, shape=(1, 8, 4), levels=2, **options):
    flow = MultiScaleFlow(conv, shape, levels=levels, steps=2, width=5, bins=17, **options)
    flow.initialize(torch.randint(17, (20, *shape)))
    return perturb(flow)


def test_squeeze_moves_pixels_into_channels():
    x = torch.randn(2, 3, 4, 6)
    z, log_det = Squeeze()(x)
    assert z.shape == (2, 12, 2, 3)
    torch.testing.assert_close(z.flatten(1).sort().values, x.flatten(1).sort().values)
    torch.testing.assert_close(log_det, torch.zeros(2))
    torch.testing.assert_close(Squeeze().inverse(z), x)


def test_split_keeps_both_halves():
    split = perturb(Split(4, 5).double())
    x = torch.randn(2, 4, 3, 2, dtype=torch.float64)
    z, log_det = split(x)
    assert split.leaving == 2
    assert z.shape == x.shape
    assert log_det.shape == (2,)
    torch.testing.assert_close(split.inverse(z), x)


def test_spline_stays_monotone_and_exact_whatever_is_learned():
    for scale in (0.0, 1.0, 10.0, 100.0):
        part = SplineActivation()
        with torch.no_grad():
            for parameter in part.parameters():
                parameter.copy_(scale * torch.randn_like(parameter))
        x = torch.linspace(-25, 25, 5001).view(1, 1, 1, -1).requires_grad_()
        z, log_det = part(x)
        (z.sum() + log_det.sum()).backward()
        for value in (z, log_det, x.grad, *(p.grad for p in part.parameters())):
            assert torch.isfinite(value).all()
        y = x.detach().double()
        z, _ = part.double()(y)
        assert (z.diff() > 0).all()
        torch.testing.assert_close(part.inverse(z), y, rtol=0, atol=1e-7)
    with pytest.raises(ValueError, match="bins must be an int of at least 1, not 0"):
        SplineActivation(bins=0)


def test_squeeze_order():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    z, log_det = Squeeze()(x)
    assert z[0, :, 0, 0].tolist() == [0, 1, 4, 5]
    assert (log_det == 0).all()


def test_actnorm_normalises_its_first_batch_only():
    part = ActNorm(3)
    x = 5 + 3 * torch.randn(50, 3, 4, 4)
    torch.testing.assert_close(part(x)[0], x)
    part.initialize(x)
    z, _ = part(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    state = {name: value.clone() for name, value in part.state_dict().items()}
    part.initialize(x * 7)
    torch.testing.assert_close(part.state_dict(), state)
    other = ActNorm(3)
    other.load_state_dict(state)
    assert other.initialized


@pytest.mark.parametrize(
    ("conv", "step"),
    [
        *((conv, "common") for conv in invconv.available()),
        *((conv, "paper") for conv in PAPER_STEPS),
    ],
)
@pytest.mark.parametrize("shape", [(1, 8, 4), (3, 4, 8)])
def test_encode_decode_and_log_det(conv, shape, step, float64):
    flow = small_flow(conv, shape, step=step)
    flow.train(conv != "snf")  # in training mode its log_det is 0
    y = torch.randn(2, *shape)
    latents, log_det = flow.encode(y)
    assert [tuple(latent.shape[1:]) for latent in latents] == flow.latent_shapes
    assert sum(latent[0].numel() for latent in latents) == y[0].numel()
    torch.testing.assert_close(flow.decode(latents), y, rtol=0, atol=1e-9)

    def flat(a):
        return torch.cat([latent.flatten() for latent in flow.encode(a[None])[0]])

    jacobian = torch.autograd.functional.jacobian(flat, y[0]).reshape(y[0].numel(), -1)
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian).logabsdet)


def test_sampling():
    flow = small_flow("finc").eval()
    images = flow.sample(7)
    assert images.shape == (7, 1, 8, 4)
    assert images.dtype == torch.uint8
    assert int(images.max()) <= 16
    cold = flow.sample(5, temperature=0.0)
    assert (cold == cold[:1]).all()
    again = [flow.sample(3, generator=torch.Generator().manual_seed(4)) for _ in range(2)]
    assert (again[0] == again[1]).all()


@pytest.mark.parametrize(
    ("shape", "levels", "steps", "count"),
    [
        ((1, 28, 28), 2, 16, 10_044_232),
        ((3, 32, 32), 3, 32, 44_944_072),
        ((3, 32, 32), 3, 48, 67_028_488),
        ((3, 32, 32), 3, 28, 39_422_968),
    ],
    ids=["mnist", "cifar10", "imagenet32", "table3"],
)
def test_parameter_counts_are_the_papers(shape, levels, steps, count):
    flow = MultiScaleFlow("finc", shape, levels, steps, width=512, mixing="plain")
    assert sum(parameter.numel() for parameter in flow.parameters()) == count


def test_every_parameter_learns():
    flow = small_flow("finc", shape=(1, 8, 8))
    flow.log_prob(torch.randint(17, (4, 1, 8, 8))).sum().backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_initialize_reaches_every_actnorm():
    flow = MultiScaleFlow("finc", (1, 8, 8), levels=2, steps=2, width=4)
    norms = [module for module in flow.modules() if isinstance(module, ActNorm)]
    assert len(norms) == 4
    assert not any(norm.initialized for norm in norms)
    flow.initialize(torch.randint(256, (10, 1, 8, 8)))
    assert all(norm.initialized for norm in norms)


def test_steps_are_those_of_the_papers():
    def kinds(conv):
        flow = MultiScaleFlow(conv, (1, 4, 4), levels=1, steps=1, width=4)
        return [type(part).__name__ for part in flow.levels[0]]

    assert kinds("finc") == ["Squeeze", "FInC", "ActNorm", "Glow1x1", "AffineCoupling"]
    assert kinds("glow") == ["Squeeze", "ActNorm", "Glow1x1", "AffineCoupling"]


@pytest.mark.parametrize(
    "conv",
    [
        "finc",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("woodbury", "periodic", "macow")),
    ],
)
def test_compiled_models_sample_and_train_through_the_inverse(conv):
    flow = small_flow(conv).eval()
    latents = flow.draw(3)
    decode = torch.compile(flow.decode, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(decode(latents), flow.decode(latents))

    flow.train()
    parameters = list(flow.parameters())

    def loss(decode):
        return decode(latents).square().mean()

    decode = torch.compile(flow.decode, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(loss(decode), parameters, allow_unused=True)
    truth = torch.autograd.grad(loss(flow.decode), parameters, allow_unused=True)
    torch.testing.assert_close(found, truth)


def test_bad_input_gets_one_sentence():
    with pytest.raises(ValueError, match="divisible by 8, not 12x8"):
        MultiScaleFlow("finc", (1, 12, 8), levels=3, steps=1)
    with pytest.raises(ValueError, match="finc, glow"):
        MultiScaleFlow("none", (1, 8, 8), levels=1, steps=1)
    with pytest.raises(TypeError, match="no option 'kernel'"):
        MultiScaleFlow("finc", (1, 8, 8), levels=1, steps=1, conv_options={"kernel": 3})
    with pytest.raises(ValueError, match="at least 1"):
        MultiScaleFlow("finc", (1, 8, 8), levels=1, steps=0)
    flow = small_flow("finc")
    with pytest.raises(ValueError, match=r"shape \(B, 1, 8, 4\)"):
        flow.log_prob(torch.zeros(2, 1, 4, 4))
    with pytest.raises(TypeError, match="integers from 0 to 16, not torch"):
        flow.log_prob(torch.zeros(2, 1, 8, 4))
    with pytest.raises(ValueError, match="one batch size"):
        flow.decode([torch.zeros(1, 2, 4, 2), torch.zeros(2, 8, 2, 1)])
    with pytest.raises(ValueError, match="at least 0"):
        flow.sample(-1)
    with pytest.raises(ValueError, match="shape must be"):
        MultiScaleFlow("finc", (32, 32), levels=1, steps=1)
    with pytest.raises(ValueError, match="latents must have shapes"):
        flow.decode([torch.zeros(1, 2, 4, 2)])
    with pytest.raises(ValueError, match="must be even, not 3"):
        AffineCoupling(3, 4)


@pytest.mark.parametrize("assign", [False, True])
def test_a_flow_built_on_meta_and_loaded_has_the_same_likelihood(assign):
    images = torch.randint(256, (4, 1, 8, 8))

    def build_flow():
        return MultiScaleFlow("finc", (1, 8, 8), levels=2, steps=1, width=4)

    flow = build_flow()
    flow.initialize(images)
    with torch.device("meta"):
        other = build_flow()
    if not assign:
        other.to_empty(device="cpu")
    other.load_state_dict(flow.state_dict(), assign=assign)
    found, truth = (f.log_prob(images, torch.Generator().manual_seed(1)) for f in (other, flow))
    assert torch.equal(found, truth)
