"""The data-dependent initialization of ActNorm, and what is said where it was forgotten."""

import copy
import math
import warnings

import pytest
import torch

from invconv import MaCow
from invconv.flows import ActNorm, MultiScaleFlow

SHAPE = (1, 8, 8)


def flow():
    return MultiScaleFlow("finc", SHAPE, levels=2, steps=2, width=4, bins=17)


def images():
    return torch.randint(17, (8, *SHAPE))


def train(model, steps=3):
    """Returns what was warned of."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            optimizer.zero_grad()
            (-model.log_prob(images())).mean().backward()
            optimizer.step()
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e30])
def test_initializing_on_a_batch_with_a_bad_value_sets_nothing(bad):
    part = ActNorm(2)
    x = torch.randn(3, 2, 4, 4)
    x[1, 1, 2, 2] = bad
    before = copy.deepcopy(part.state_dict())
    with pytest.raises(ValueError, match=r"x holds . of .* values that are NaN or infinite"):
        part.initialize(x)
    torch.testing.assert_close(part.state_dict(), before)
    part.initialize(x.nan_to_num(0, 0, 0).clamp(-9, 9))
    assert part.initialized and part.log_scale.isfinite().all()


@pytest.mark.parametrize("size", [(0, 2, 4, 4), (3, 2, 0, 4), (3, 2, 4, 0)])
def test_initializing_on_no_values_sets_nothing(size):
    part = ActNorm(2)
    with pytest.raises(ValueError, match="needs values to initialize with, and x has none"):
        part.initialize(torch.zeros(size))
    assert not part.initialized and not part.bias.any()


def test_initializing_on_other_channels_sets_nothing():
    part = ActNorm(1)
    with pytest.raises(ValueError, match="x must have 1 channels"):
        part.initialize(torch.rand(3, 2, 4, 4))
    assert not part.initialized


def test_initializing_in_half_precision_does_not_overflow():
    part = ActNorm(2).half()
    x = 1000 * torch.randn(50, 2, 4, 4)
    part.initialize(x.half())
    assert (part(x.half())[0].float().std((0, 2, 3)) - 1).abs().max() < 0.01


def test_initializing_macow_on_a_batch_with_a_bad_value_sets_nothing():
    layer = MaCow(2, hidden_channels=4)
    x = torch.randn(3, 2, 4, 4)
    x[0, 0, 0, 0] = math.nan
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(ValueError, match="values that are NaN or infinite"):
        layer.initialize(x)
    torch.testing.assert_close(layer.state_dict(), before)


def test_a_training_loop_that_forgot_initialize_is_warned_once():
    model = flow()
    said = train(model)
    assert len(said) == 1 and "call `initialize` with one first" in said[0]
    assert not train(model)
    assert len(train(flow())) == 1


def test_a_training_loop_around_actnorm_alone_is_warned_once():
    part = ActNorm(2)
    with pytest.warns(UserWarning, match="training begins before ActNorm has seen a batch"):
        part(torch.rand(3, 2, 4, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        part(torch.rand(3, 2, 4, 4))


def test_a_variational_flow_that_forgot_initialize_is_warned_once():
    model = MultiScaleFlow(
        "finc", SHAPE, levels=2, steps=1, width=4, bins=17, dequantization="variational"
    )
    assert len(train(model)) == 1


def test_nothing_is_said_where_nothing_was_forgotten():
    model = flow()
    model.initialize(images())
    assert not train(model)
    other = flow()
    other.load_state_dict(model.state_dict())
    assert not train(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh = flow()
        with torch.no_grad():
            fresh.log_prob(images())
        fresh.eval().log_prob(images())
        fresh.sample(2)
        with torch.device("meta"):
            ActNorm(2)(torch.rand(3, 2, 4, 4))
        torch.func.vmap(ActNorm(2))(torch.rand(2, 3, 2, 4, 4))
        compiled = torch.compile(ActNorm(2), fullgraph=True, backend="eager")
        compiled(torch.rand(3, 2, 4, 4))
