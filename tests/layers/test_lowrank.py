"""Woodbury and ME-Woodbury: the authors' numbers, the small matrices, parameter counts."""

import copy

import pytest
import torch
from recorded import largest_difference, recorded

from invconv import MEWoodbury, NumericalError, Woodbury
from invconv.layers import woodbury
from invconv.layers.woodbury import LowRankUpdate

AXES = {"woodbury": ("channel", "spatial"), "me": ("channel", "height", "width")}


def from_authors(name):
    arrays = recorded("woodbury")
    ranks = {f"{axis}_rank": arrays[f"{name}_{axis}_u"].shape[1] for axis in AXES[name]}
    layer = (Woodbury if name == "woodbury" else MEWoodbury)((3, 4, 5), **ranks)
    state = {
        f"{axis}.{part}": arrays[f"{name}_{axis}_{part}"] for axis in AXES[name] for part in "uv"
    }
    layer.load_state_dict(state)
    found = {part: arrays[f"{name}_{part}"] for part in ("z", "log_det", "x")}
    return layer, arrays["x"], found


@pytest.mark.parametrize("name", AXES)
def test_the_authors_numbers(name):
    layer, x, theirs = from_authors(name)
    z, log_det = layer(x)
    assert largest_difference(z, theirs["z"]) < 1e-5
    assert largest_difference(log_det, theirs["log_det"]) < 1e-5
    for method in ("auto", "published"):
        layer.inverse_method = method
        assert largest_difference(layer.inverse(theirs["z"]), theirs["x"]) < 1e-5


@pytest.mark.parametrize("name", AXES)
def test_another_order_would_be_seen(name):
    """The transposed updates, and pixels or axes in another order, miss the authors' numbers."""
    layer, x, theirs = from_authors(name)
    for axis in AXES[name]:
        other = copy.deepcopy(layer)
        update = getattr(other, axis)
        update.u, update.v = torch.nn.Parameter(update.v.T), torch.nn.Parameter(update.u.T)
        assert largest_difference(other(x)[0], theirs["z"]) > 0.1
    if name == "woodbury":
        turned = x.mT.reshape(x.shape)
        z = layer(turned)[0].view(2, 3, 5, 4).mT
        assert largest_difference(z, theirs["z"]) > 0.1


@pytest.mark.parametrize(("size", "rank"), [(5, 2), (5, 3), (3, 7), (1, 1)])
def test_updates_are_low_rank(size, rank, float64):
    """Two factors or the whole matrix, det and inverse are those of I + U·V."""
    update = LowRankUpdate(size, rank)
    with torch.no_grad():
        for parameter in update.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    matrix = torch.eye(size) + update.u @ update.v
    truth = torch.linalg.slogdet(matrix).logabsdet
    torch.testing.assert_close(update.log_abs_det(), truth)
    x = torch.randn(2, size, size)
    for inverse, truth in ((False, matrix), (True, torch.linalg.inv(matrix))):
        terms = update.terms(inverse)
        assert len(terms) == (2 if 2 * rank < size else 1)
        torch.testing.assert_close(woodbury.multiply_left(terms, x), truth @ x)
        torch.testing.assert_close(woodbury.multiply_right(x, terms), x @ truth)
        torch.testing.assert_close(
            woodbury.multiply_right(x, woodbury.transpose(terms)), x @ truth.T
        )


@pytest.mark.parametrize("layer", [Woodbury((12, 8, 6), 4, 4), MEWoodbury((12, 8, 6), 4, 4, 4)])
def test_sampling_factorises_once(layer, monkeypatch):
    calls = []
    solve = torch.linalg.solve
    monkeypatch.setattr(torch.linalg, "solve", lambda *a: calls.append(1) or solve(*a))
    z = torch.randn(2, 12, 8, 6)
    updates = len(list(layer.children()))
    layer.eval()
    with torch.no_grad():
        layer.inverse(z)
        layer.inverse(z)
    assert len(calls) == updates
    layer.train().inverse(z)
    assert len(calls) == 2 * updates


def test_parameter_counts():
    def count(layer):
        return sum(parameter.numel() for parameter in layer.parameters())

    channels, height, width, d = 12, 8, 6, 16
    assert count(Woodbury((channels, height, width))) == 2 * d * (channels + height * width)
    assert count(MEWoodbury((channels, height, width))) == 2 * d * (channels + height + width)


def test_starts_near_the_identity_as_released():
    torch.manual_seed(0)
    layer = Woodbury((32, 16, 16))
    for update in layer.children():
        for parameter in update.parameters():
            assert parameter.std().item() == pytest.approx(0.01, rel=0.1)


def test_another_size_and_bad_options_get_one_sentence():
    layer = Woodbury((4, 3, 5))
    for call in (layer, layer.inverse):
        with pytest.raises(ValueError, match=r"\(B, 4, 3, 5\).* not for 5×3"):
            call(torch.zeros(1, 4, 5, 3))
    with pytest.raises(ValueError, match="rank must be an int of at least 1, not 0"):
        Woodbury((4, 3, 5), channel_rank=0)
    with pytest.raises(ValueError, match="shape must be"):
        MEWoodbury((4, 3))
    with pytest.raises(ValueError, match="known: auto, published"):
        MEWoodbury((4, 3, 5), inverse_method="fast")
    with pytest.raises(TypeError, match="known: channel_rank, spatial_rank, inverse_method"):
        Woodbury.from_shape((4, 3, 5), rank=3)


def test_check_refuses_an_update_that_float32_cannot_invert():
    layer = Woodbury((2, 1, 2), 1, 1)
    with torch.no_grad():
        layer.channel.u.fill_(1)
        layer.channel.v.copy_(torch.tensor([[-0.3, -0.7 + 1e-7]]))
        with pytest.raises(NumericalError, match="relative residual"):
            layer.inverse(torch.randn(3, 2, 1, 2), check=True)


@pytest.mark.parametrize("layer", [Woodbury, MEWoodbury])
@pytest.mark.parametrize("scale", [1, 10])
def test_the_inverse_is_as_accurate_in_float32_as_the_released_one(layer, scale):
    """The identity inside the products would cost two to four times the released one's error."""
    ours = layer((12, 16, 16)).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.mul_(scale)
        exact = layer((12, 16, 16)).double().eval()
        exact.load_state_dict(ours.state_dict())
        z = torch.randn(8, 12, 16, 16)
        truth, errors = exact.inverse(z.double()), {}
        for ours.inverse_method in ("auto", "published"):
            errors[ours.inverse_method] = (ours.inverse(z).double() - truth).norm().item()
    assert errors["auto"] < 1.1 * errors["published"]
