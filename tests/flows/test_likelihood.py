"""Dequantization, preprocessing and bits per dimension, against exact probabilities."""

import itertools
import math

import pytest
import torch

from invconv.data import ImageSet, load
from invconv.flows import (
    ActNorm,
    LevelFlow,
    Logit,
    MaCowFG,
    MultiScaleFlow,
    Scale,
    UniformDequantization,
    VariationalDequantization,
)
from invconv.training import TrainingOptions, evaluate, train

SMALL = {"steps": 1, "width": 4}


class Identity(LevelFlow):
    """y ~ N(0, I): the probability of an image is a product of normal intervals."""

    def __init__(self, shape, bins, **options):
        super().__init__(shape, bins, **options)
        self.levels.append(torch.nn.ModuleList([ActNorm(shape[0])]))
        self.latent_shapes = [shape]


def perturb(module, scale=0.2):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return module


def interval_log_prob(bins, preprocessing, alpha=1e-6):
    """log P(x) of every pixel value under y ~ N(0, 1), by the normal distribution function."""
    edges = torch.arange(bins + 1.0) / bins
    y = edges - 0.5 if preprocessing == "scale" else (alpha + (1 - 2 * alpha) * edges).logit()
    upper, lower = torch.special.ndtr(y[1:]), torch.special.ndtr(y[:-1])
    return (upper - lower).log()


def copies(pixels, shape, count):
    return torch.tensor(pixels).view(1, *shape).expand(count, *shape)


def test_one_draw_of_uniform_noise_is_one_torch_rand():
    """The rows that were measured with a seed stay what they are."""
    flow = MultiScaleFlow("glow", (3, 8, 8), levels=2, steps=1, width=4, bins=17)
    images = torch.randint(17, (5, 3, 8, 8), dtype=torch.uint8)
    mine, theirs = (torch.Generator().manual_seed(7) for _ in range(2))
    bpd = flow.bits_per_dim(images, mine)
    u = torch.rand(images.shape, dtype=torch.float32, generator=theirs)
    assert torch.equal(mine.get_state(), theirs.get_state())
    p = 1e-6 + (1 - 2e-6) * (images.float() + u) / 17
    y = torch.log(p) - torch.log1p(-p)
    given, log_det = flow.dequantization(images, torch.float32, mine.manual_seed(7))
    assert torch.equal(given, y)
    slope = -torch.log(p.double() * (1 - p.double())) + math.log((1 - 2e-6) / 17)
    torch.testing.assert_close(log_det, slope.flatten(1).sum(1).float())
    latents, change = flow.encode(y)
    log_prob = log_det + change
    for latent in latents:
        log_prob = log_prob - 0.5 * (latent.square() + math.log(2 * math.pi)).flatten(1).sum(1)
    torch.testing.assert_close(bpd, -log_prob / (192 * math.log(2)))
    assert not [name for name in flow.state_dict() if name.startswith("dequantization")]
    assert (flow.dequantization_name, flow.preprocessing_name) == ("uniform", "logit")


@pytest.mark.parametrize("bins", [2, 17, 32, 256])
@pytest.mark.parametrize("kind", [Logit, Scale])
def test_preprocessing_and_its_log_det(kind, bins, float64):
    part = kind(bins)
    values = bins * torch.rand(2, 1, 2, 3)
    y, log_det = part(values)
    torch.testing.assert_close(part.inverse(y), values)
    slope = torch.autograd.functional.jacobian(lambda a: part(a)[0].sum((0, 1, 2, 3)), values)
    torch.testing.assert_close(log_det, slope.log().flatten(1).sum(1))
    assert part(torch.zeros(0, 1, 2, 3))[1].shape == (0,)


@pytest.mark.parametrize("kind", [Logit, Scale])
def test_round_trip_of_every_pixel_value(kind):
    part = UniformDequantization(kind(256))
    images = torch.arange(256).view(1, 1, 16, 16)
    y, log_det = part(images, torch.float32)
    assert torch.isfinite(y).all()
    assert log_det.shape == (1,)
    assert (part.inverse(y) == images).all()
    assert part.inverse(y).dtype == torch.uint8
    extreme = part.inverse(torch.tensor([-1e9, 1e9]).view(1, 1, 1, 2))
    assert extreme.flatten().tolist() == [0, 255]


def test_bits_per_dim_by_hand(float64, monkeypatch):
    """Four levels, scale, identity, u = 0, pixels 2, 2, 2 and 3: y = 0, 0, 0 and 1/4.

    log N(0) = −½·log 2π = −0.918939, log N(1/4) = −0.918939 − 1/32 = −0.950189, and each pixel's
    log_det is −log 4 = −1.386294, together 4·(−0.918939 − 1.386294) − 1/32 = −9.252182 nats;
    9.252182 / (4·0.693147) = 3.337019 bits per dimension.
    """
    flow = Identity((1, 2, 2), 4, preprocessing="scale")
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.zeros(shape))
    bpd = flow.bits_per_dim(torch.tensor([2, 2, 2, 3]).view(1, 1, 2, 2))
    assert bpd.item() == pytest.approx(3.337019, abs=1e-6)


def test_bits_per_dim_by_hand_with_the_logit(float64, monkeypatch):
    """Five levels, x = 3, u = 1/4, 1/2, 3/4 and 1/8, through one step of identities."""
    flow = MultiScaleFlow("glow", (1, 2, 2), levels=1, steps=1, width=2, bins=5)
    with torch.no_grad():
        flow.levels[0][2].weight.zero_()
        flow.levels[0][2].sign.fill_(1)
        flow.levels[0][2].permutation.copy_(torch.arange(4))
    u = torch.tensor([0.25, 0.5, 0.75, 0.125])
    monkeypatch.setattr(torch, "rand", lambda shape, **_: u.view(shape))
    bpd = flow.bits_per_dim(torch.full((1, 1, 2, 2), 3))
    total = 0.0
    for value in u.tolist():
        p = 1e-6 + (1 - 2e-6) * (3 + value) / 5
        y = math.log(p / (1 - p))
        log_normal = -0.5 * y * y - 0.5 * math.log(2 * math.pi)
        total += log_normal + math.log((1 - 2e-6) / (p * (1 - p))) - math.log(5)
    assert bpd.item() == pytest.approx(-total / (4 * math.log(2)))


@pytest.mark.parametrize("preprocessing", ["scale", "logit"])
@pytest.mark.parametrize("levels", [17, 32, 256])
def test_a_known_density(levels, preprocessing, float64):
    """Every pixel value's exact probability; inside a fine interval the bound is nearly tight."""
    flow = Identity((1, 1, 1), levels, preprocessing=preprocessing)
    generator = torch.Generator().manual_seed(1)
    exact = -interval_log_prob(levels, preprocessing) / math.log(2)
    with torch.no_grad():
        for value in range(1, levels - 1, max(1, levels // 8)):
            images = copies([value], (1, 1, 1), 4000)
            bpd = flow.bits_per_dim(images, generator)
            error = float(bpd.std()) / 4000**0.5
            gap = float(bpd.mean()) - float(exact[value])
            assert gap > -5 * error
            if preprocessing == "scale":
                assert gap < 1e-3 + 5 * error
            tight = flow.bits_per_dim(images, generator, samples=64).mean()
            assert float(tight) == pytest.approx(float(exact[value]), abs=0.01)


def test_the_entropy_of_what_a_flow_samples(float64):
    """If the data are the flow's own, bits per dimension are their entropy and the bound's gap."""
    flow = MultiScaleFlow("glow", (1, 2, 2), levels=1, steps=1, width=2, bins=32)
    generator = torch.Generator().manual_seed(1)
    images = flow.sample(20000, generator=generator)
    log_prob = interval_log_prob(32, "logit")
    with torch.no_grad():
        bpd = flow.bits_per_dim(images, generator).mean().item()
    entropy = -(log_prob.exp() * log_prob).sum().item() / math.log(2)
    assert entropy <= bpd + 0.01
    assert bpd == pytest.approx(entropy, abs=0.02)


NOISES = {
    "uniform": {},
    "variational": {"steps": 2, "width": 3},
    "variational_macow": {"steps": [1, 1], "widths": [3, 4], "context_channels": 2},
}


@pytest.mark.parametrize("name", ["uniform", "variational"])
def test_the_weights_average_to_the_exact_probability(name, float64):
    """E p(x + u)/q(u|x) = P(x): an error in either density, or a u outside [0, 1), would show."""
    shape = (1, 2, 2)
    options = {"dequantization": name, "dequantization_options": NOISES[name]}
    flow = Identity(shape, 3, preprocessing="scale", **options)
    flow.dequantization.initialize(torch.randint(3, (50, *shape)), torch.float64)
    perturb(flow.dequantization, 0.05)
    generator = torch.Generator().manual_seed(2)
    pixel = interval_log_prob(3, "scale")
    for pixels in ([0, 1, 2, 0], [2, 2, 2, 2]):
        with torch.no_grad():
            log_weights = flow.log_prob(copies(pixels, shape, 100_000), generator)
        weights = (log_weights - pixel[pixels].sum()).exp()
        error = float(weights.std()) / len(weights) ** 0.5
        assert error < 0.02
        assert float(weights.mean()) == pytest.approx(1, abs=4 * error)


@pytest.mark.parametrize("name", ["uniform", "variational"])
def test_more_samples_tighten_the_bound_up_to_the_probability(name, float64):
    """Two levels and the logit, so that the density varies much inside a pixel value."""
    shape = (1, 2, 2)
    flow = Identity(shape, 2, dequantization=name, dequantization_options=NOISES[name])
    perturb(flow.dequantization, 0.1)
    generator = torch.Generator().manual_seed(3)
    pixels = [0, 1, 1, 0]
    exact = -interval_log_prob(2, "logit")[pixels].sum().item() / (4 * math.log(2))
    means, errors = [], []
    for samples in (1, 4, 16, 64):
        with torch.no_grad():
            bpd = flow.bits_per_dim(copies(pixels, shape, 4000), generator, samples)
        means.append(float(bpd.mean()))
        errors.append(float(bpd.std()) / 4000**0.5)
    for loose, tight, error in itertools.zip_longest(means, means[1:], errors):
        assert loose > exact - 4 * error
        if tight is not None:
            assert loose > tight
    assert means[0] > exact + 0.05
    assert means[-1] == pytest.approx(exact, abs=0.03)


def test_one_sample_is_the_bound_itself():
    flow = MultiScaleFlow("glow", (1, 4, 4), levels=1, steps=1, width=2, bins=17)
    images = torch.randint(17, (6, 1, 4, 4))
    generator = torch.Generator().manual_seed(5)
    bound = flow.log_prob(images, generator)
    bpd = flow.bits_per_dim(images, generator.manual_seed(5))
    assert torch.equal(bpd, -bound / (math.log(2) * 16))
    with pytest.raises(ValueError, match="samples must be an int of at least 1, not 0"):
        flow.bits_per_dim(images, samples=0)


@pytest.mark.parametrize("preprocessing", ["logit", "scale"])
@pytest.mark.parametrize("name", NOISES)
def test_every_pair_trains_and_samples(name, preprocessing):
    torch.manual_seed(1)
    options = {"dequantization": name, "preprocessing": preprocessing}
    options["dequantization_options"] = NOISES[name]
    flow = MaCowFG((2, 8, 4), steps=(1, (1,), 1), widths=(3, 4, 4), bins=17, **options)
    images = torch.randint(17, (20, 2, 8, 4), dtype=torch.uint8)
    flow.initialize(images)
    before = {key: value.clone() for key, value in flow.state_dict().items()}
    assert all(value for key, value in before.items() if key.endswith("initialized"))
    flow.initialize(images)
    torch.testing.assert_close(flow.state_dict(), before)
    perturb(flow, 0.02).log_prob(images).sum().backward()
    for key, parameter in flow.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
    assert flow.eval().sample(3).shape == (3, 2, 8, 4)
    assert flow.dequantization_name == name
    assert flow.preprocessing_name == preprocessing
    assert isinstance(flow.dequantization, VariationalDequantization) == (name != "uniform")
    y, _ = flow.dequantization(images, torch.float32)
    assert (flow.dequantization.inverse(y) == images).all()


def test_variational_dequantisation_is_trained_with_the_model():
    data = load("digits", "train")
    images = ImageSet("digits", "train", data.images[:100], data.levels)
    flow = Identity(
        (1, 8, 8), 17, dequantization="variational", dequantization_options={"width": 8}
    )
    start = {name: value.clone() for name, value in flow.dequantization.named_parameters()}
    flow.initialize(images.images)
    before = evaluate(flow, images)
    train(flow, images, images, TrainingOptions(steps=30, batch_size=50), progress=False)
    assert evaluate(flow, images) < before - 0.05
    for name, value in flow.dequantization.named_parameters():
        assert not torch.equal(value, start[name]), name


def test_bad_input_gets_one_sentence():
    flow = MultiScaleFlow("glow", (1, 4, 4), levels=1, bins=17, **SMALL)
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match="from 0 to 16, not from 0 to 17: give the flow as many"):
        flow.log_prob(images.index_fill(0, torch.tensor([1]), 17))
    with pytest.raises(ValueError, match="from 0 to 16, not from -1 to 0"):
        flow.initialize(images.int() - torch.eye(4, dtype=torch.int))
    with pytest.raises(TypeError, match="integers from 0 to 16, not torch"):
        flow.bits_per_dim(images.float())
    with pytest.raises(TypeError, match="integers from 0 to 16, not torch"):
        flow.bits_per_dim(images.to(torch.complex64))
    assert flow.log_prob(images[:0]).shape == (0,)
    for bins in (1, 257):
        with pytest.raises(ValueError, match="bins must be between 2 and 256"):
            Logit(bins)
    for name, message in {
        "dequantization": "known: uniform, variational, variational_macow",
        "preprocessing": "known: logit, scale",
    }.items():
        with pytest.raises(ValueError, match=message):
            MultiScaleFlow("glow", (1, 4, 4), levels=1, **SMALL, **{name: "none"})
    with pytest.raises(TypeError, match="uniform dequantization has no options, not steps"):
        Identity((1, 2, 2), 2, dequantization_options={"steps": 1})
    with pytest.raises(TypeError, match="no option 'depth'; known: steps, width"):
        Identity((1, 2, 2), 2, dequantization="variational", dequantization_options={"depth": 1})
