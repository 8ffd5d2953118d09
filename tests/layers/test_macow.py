"""MaCow: the authors' numbers, every way to invert, and the fine-grained model."""

import pytest
import torch
from recorded import largest_difference, recorded

from invconv import MaCow, build
from invconv.flows.actnorm import ActNorm
from invconv.flows.macow_fg import MaCowFG
from invconv.flows.macow_steps import GatedCoupling, macow_step, macow_unit
from invconv.flows.published import MACOW_FG
from invconv.layers import masked_conv
from invconv.layers.weight_norm import WeightNormConv2d


def perturb(module, scale=0.2):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return module


def copy_conv(conv, arrays, prefix):
    """The authors' masked convolution and 1×1; the masks' taps are stored alike."""
    with torch.no_grad():
        for part in ("masked", "output"):
            for name, parameter in getattr(conv, part).named_parameters():
                if f"{prefix}_{part}_{name}" in arrays:
                    parameter.copy_(arrays[f"{prefix}_{part}_{name}"])


@pytest.mark.parametrize("order", "ABCD")
def test_the_authors_numbers_and_no_other_order(order):
    arrays = recorded("macow_orders")
    for tried in "ABCD":
        if (tried in "AB") != (order in "AB"):
            continue
        layer = MaCow(3, tried, hidden_channels=4)
        copy_conv(layer.convs[0], arrays, order)
        z, log_det = layer(arrays["x"])
        if tried != order:
            assert largest_difference(z, arrays[f"{order}_z"]) > 0.1
            continue
        assert largest_difference(z, arrays[f"{order}_z"]) < 1e-5
        assert largest_difference(log_det, arrays[f"{order}_log_det"]) < 1e-5
        for method in ("auto", "published"):
            layer.inverse_method = method
            with torch.no_grad():
                x, change = layer.inverse_and_log_det(arrays[f"{order}_z"])
            assert largest_difference(x, arrays[f"{order}_x"]) < 1e-5
            assert largest_difference(-change, arrays[f"{order}_log_det"]) < 1e-5


def authors_unit(arrays):
    """Our unit with the authors' numbers; their ActNorm adds its bias after the scale."""
    unit = macow_unit(3)
    convs = [conv for layer in unit if isinstance(layer, MaCow) for conv in layer.convs]
    norms = [layer for layer in unit if isinstance(layer, ActNorm)]
    for i, conv in enumerate(convs):
        copy_conv(conv, arrays, f"conv{i}")
    for i, norm in enumerate(norms):
        log_scale, bias = arrays[f"actnorm{i}_log_scale"], arrays[f"actnorm{i}_bias"]
        norm.load_state_dict(
            {
                "log_scale": log_scale,
                "bias": bias / log_scale.exp(),
                "initialized": torch.tensor(True),
            }
        )
    return unit


def run(parts, x):
    log_det = x.new_zeros(len(x))
    for part in parts:
        x, change = part(x)
        log_det = log_det + change
    return x, log_det


def test_the_authors_unit():
    arrays = recorded("macow_unit")
    unit = authors_unit(arrays)
    z, log_det = run(unit, arrays["x"])
    assert largest_difference(z, arrays["z"]) < 1e-5
    assert largest_difference(log_det, arrays["log_det"]) < 2e-5
    other = [unit[2], unit[3], unit[0], unit[1]]
    assert largest_difference(run(other, arrays["x"])[0], arrays["z"]) > 0.1


def test_the_authors_initialization():
    arrays = recorded("macow_unit")
    layer = MaCow(3, "AB")
    for i, conv in enumerate(layer.convs):
        copy_conv(conv, arrays, f"init_conv{i}")
        with torch.no_grad():
            for part in (conv.masked, conv.output):  # only v was copied before it was initialized
                part.g.copy_(torch.linalg.vector_norm(part.v, dim=(1, 2, 3)))
                part.bias.zero_()
    layer.initialize(arrays["init_x"])
    for i, conv in enumerate(layer.convs):
        for part in ("masked", "output"):
            for name in ("g", "bias"):
                found = getattr(getattr(conv, part), name)
                assert largest_difference(found, arrays[f"init_conv{i}_{part}_{name}"]) < 1e-5
    z, log_det = layer(arrays["init_x"])
    assert largest_difference(z, arrays["init_z"]) < 1e-5
    assert largest_difference(log_det, arrays["init_log_det"]) < 1e-4
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.initialize(7 * arrays["init_x"])
    torch.testing.assert_close(layer.state_dict(), state)


@pytest.mark.parametrize("by_convolution", [False, True])
@pytest.mark.parametrize("kernel_size", [(2, 3), (1, 1), (3, 5)])
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 5, 2), (5, 1, 3), (2, 3, 1)])
@pytest.mark.parametrize("order", "ABCD")
def test_every_way_to_invert(
    order, shape, kernel_size, by_convolution, float64, monkeypatch, poisoned_empty
):
    limit = 0 if by_convolution else 2**60
    monkeypatch.setattr(masked_conv, "PRODUCTS_PER_CONVOLUTION", limit)
    layer = perturb(MaCow(shape[0], order, kernel_size, hidden_channels=4))
    x = torch.randn(3, *shape)
    z, log_det = layer(x)
    torch.testing.assert_close(layer.inverse(z), x, rtol=0, atol=1e-10)
    with torch.no_grad():
        for method in ("auto", "published"):
            layer.inverse_method = method
            found, change = layer.inverse_and_log_det(z)
            assert found.is_contiguous()
            torch.testing.assert_close(found, x, rtol=0, atol=1e-10)
            torch.testing.assert_close(change, -log_det, rtol=0, atol=1e-9)


def test_a_batch_in_parts(monkeypatch):
    layer = perturb(MaCow(2))
    x = torch.randn(7, 2, 4, 5)
    truth = layer(x)
    monkeypatch.setattr(masked_conv, "HIDDEN_VALUES_PER_PART", 3 * 8 * 4 * 5)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), truth)


def test_gradients_of_the_inverse(float64):
    layer = perturb(MaCow(2, "AC", hidden_channels=3))
    parameters = dict(layer.named_parameters())
    z = torch.randn(2, 2, 3, 2, requires_grad=True)

    def inverse(z, *values):
        state = {f"layer.{name}": v for name, v in zip(parameters, values, strict=True)}
        return torch.func.functional_call(_Inverse(layer), state, z)

    assert torch.autograd.gradcheck(inverse, (z, *parameters.values()), fast_mode=True)


class _Inverse(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, z):
        return self.layer.inverse_and_log_det(z)


@pytest.mark.parametrize("batch", [0, 1])
def test_one_value_has_no_deviation(batch):
    """g would be NaN from then on."""
    part = WeightNormConv2d(2, 3)
    with pytest.raises(ValueError, match=rf"B·H·W = {batch}: initialize with more"):
        part.initialize(torch.randn(batch, 2, 1, 1))
    assert not part.initialized
    part.initialize(torch.randn(1, 2, 1, 2))
    assert part.g.isfinite().all()


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("size", [(0, 3), (3, 0), (0, 0)])
def test_images_without_pixels(size, gradients):
    layer, x = MaCow(2).eval(), torch.randn(3, 2, *size)
    with torch.set_grad_enabled(gradients):
        z, log_det = layer(x)
        assert z.shape == layer.inverse(z).shape == x.shape
        assert log_det.tolist() == layer.inverse_and_log_det(z)[1].tolist() == [0, 0, 0]


def test_weights_are_normalised_once(monkeypatch):
    calls = []
    weight = WeightNormConv2d.weight
    monkeypatch.setattr(WeightNormConv2d, "weight", lambda self: calls.append(1) or weight(self))
    z = torch.randn(2, 2, 5, 4)
    with torch.no_grad():
        layer = MaCow(2, "A").eval()
        layer.inverse(z)
        layer.inverse(z)
        assert len(calls) == 2
        calls.clear()
        MaCow(2, "A", inverse_method="published").eval().inverse(z)
        assert len(calls) == 2 * 5


def test_autocast_computes_in_the_layers_precision():
    layer = perturb(MaCow(3)).eval()
    x = torch.randn(2, 3, 4, 5)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        z, log_det = layer(x)
        assert z.dtype == log_det.dtype == torch.float32
        torch.testing.assert_close(layer.inverse(z), x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "hidden"), [(3, 12), (96, 384), (100, 200), (300, 512)])
def test_parameter_counts(channels, hidden):
    layer = build("macow", (channels, 4, 4), orders="C")
    count = hidden * channels * 6 + 2 * hidden + 2 * channels * hidden + 4 * channels
    assert sum(parameter.numel() for parameter in layer.parameters()) == count


def test_bad_options_get_one_sentence():
    with pytest.raises(ValueError, match="letters of ABCD, at least one, not 'AE'"):
        MaCow(3, "AE")
    with pytest.raises(ValueError, match="odd across the rows, not 2×4"):
        MaCow(3, kernel_size=(2, 4))
    with pytest.raises(TypeError, match="two integers"):
        MaCow(3, kernel_size=3)
    with pytest.raises(ValueError, match="known: auto, published"):
        MaCow(3, inverse_method="fast")
    with pytest.raises(ValueError, match="hidden_channels must be at least 1, not 0"):
        MaCow(3, hidden_channels=0)
    with pytest.raises(TypeError, match="known: orders, kernel_size, hidden_channels"):
        build("macow", (3, 4, 4), hidden=3)


def small_model(**options):
    plan = {"steps": (1, (1, 2), 1), "widths": (3, 5, 4), "factor": 4} | options
    return MaCowFG((2, 8, 4), bins=17, **plan)


def test_a_step_has_two_units_and_a_step_of_glow():
    names = [type(part).__name__ for part in macow_step(4, 8)]
    unit = ["ActNorm", "MaCow", "ActNorm", "MaCow"]
    assert names == [*unit, *unit, "ActNorm", "Glow1x1", "GatedCoupling"]
    assert [part.orders for part in macow_unit(2) if isinstance(part, MaCow)] == ["AB", "CD"]


def test_the_model_of_table_3_has_its_parameters():
    flow = MaCowFG((3, 32, 32), **MACOW_FG)
    assert sum(parameter.numel() for parameter in flow.parameters()) == 37_197_547
    assert sum(parameter.numel() for parameter in MaCowFG().parameters()) == 37_197_547


def test_coupling_of_an_odd_number_of_channels(float64):
    part = perturb(GatedCoupling(5, 4, factor=2))
    x = torch.randn(2, 5, 3, 4)
    z, log_det = part(x)
    torch.testing.assert_close(z[:, :3], x[:, :3])
    torch.testing.assert_close(part.inverse(z), x)
    jacobian = torch.autograd.functional.jacobian(lambda a: part(a[None])[0][0], x[0])
    truth = torch.linalg.slogdet(jacobian.reshape(60, 60)).logabsdet
    torch.testing.assert_close(log_det[0], truth)


def test_encode_decode_and_log_det(float64):
    flow = small_model()
    flow.initialize(torch.randint(17, (20, 2, 8, 4)))
    for module in flow.modules():
        if isinstance(module, ActNorm | WeightNormConv2d):
            assert module.initialized
    perturb(flow, 0.05)
    y = torch.randn(2, 2, 8, 4)
    latents, log_det = flow.encode(y)
    assert [tuple(latent.shape[1:]) for latent in latents] == flow.latent_shapes
    assert flow.latent_shapes == [(2, 4, 2), (2, 4, 2), (16, 2, 1)]
    torch.testing.assert_close(flow.decode(latents), y, rtol=0, atol=1e-9)
    flow.eval()
    with torch.no_grad():
        torch.testing.assert_close(flow.decode(latents), y, rtol=0, atol=1e-9)

    def flat(a):
        return torch.cat([latent.flatten() for latent in flow.encode(a[None])[0]])

    jacobian = torch.autograd.functional.jacobian(flat, y[0]).reshape(64, 64)
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian).logabsdet)


def test_the_model_learns_and_samples():
    flow = small_model(conv_options={"inverse_method": "published"})
    images = torch.randint(17, (4, 2, 8, 4))
    flow.initialize(images)
    perturb(flow, 0.05).log_prob(images).sum().backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    samples = flow.eval().sample(3)
    assert samples.shape == (3, 2, 8, 4)
    assert samples.dtype == torch.uint8


def test_a_bad_plan_gets_one_sentence():
    with pytest.raises(ValueError, match="1 to 3 groups of steps"):
        small_model(steps=(1, (1, 1, 1, 1), 1))
    with pytest.raises(ValueError, match="the first and the last one number"):
        small_model(steps=((1, 1), 1))
    with pytest.raises(ValueError, match="one entry per level, 3, not 2"):
        small_model(widths=(3, 4))
    with pytest.raises(ValueError, match="at least 1"):
        small_model(steps=(1, (1, 0), 1))
    with pytest.raises(ValueError, match="divisible by 8, not 8x4"):
        MaCowFG((2, 8, 4))
    with pytest.raises(ValueError, match="needs at least 2 channels, not 1"):
        MaCowFG((1, 8, 8), steps=(1, 1), widths=(3, 3))
    with pytest.raises(TypeError, match="no option 'kernel'"):
        small_model(conv_options={"kernel": 3})
