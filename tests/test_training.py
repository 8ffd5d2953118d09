"""Training, its checkpoints and its failures."""

import math

import pytest
import torch

from invconv.data import ImageSet, load
from invconv.flows import MultiScaleFlow
from invconv.training import TrainingDiverged, TrainingOptions, _batch, evaluate, train

OPTIONS = TrainingOptions(
    steps=12, batch_size=8, warmup_steps=2, schedule="cosine", evaluate_every=5, checkpoint_every=4
)


def small(split, count=40):
    data = load("digits", split)
    return ImageSet(data.name, split, data.images[:count], data.levels)


def make_flow():
    torch.manual_seed(3)
    return MultiScaleFlow("finc", (1, 8, 8), levels=2, steps=1, width=4, bins=17)


def run(flow, options=OPTIONS, **kwargs):
    return train(flow, small("train"), small("valid"), options, progress=False, **kwargs)


def test_training_improves_on_the_start():
    flow = make_flow()
    flow.initialize(small("train").images)
    before = evaluate(flow, small("test"))
    flow = make_flow()
    state = run(flow, TrainingOptions(steps=60, batch_size=20, learning_rate=3e-3))
    assert state.step == 60
    assert evaluate(flow, small("test")) < before - 0.1


def test_interrupted_run_ends_like_an_uninterrupted_one(tmp_path):
    whole = make_flow()
    expected = run(whole, folder=tmp_path / "whole")

    class Killed(BaseException):
        pass

    interrupted = make_flow()
    calls = 0
    log_prob = interrupted.log_prob

    def dies(images, generator=None):
        nonlocal calls
        calls += 1
        if calls == 11:
            raise Killed
        return log_prob(images, generator)

    interrupted.log_prob = dies
    with pytest.raises(Killed):
        run(interrupted, folder=tmp_path / "half")
    saved = torch.load(tmp_path / "half" / "last.pt", weights_only=True)
    assert saved["state"]["step"] == 8
    torch.manual_seed(99)
    resumed = MultiScaleFlow("finc", (1, 8, 8), levels=2, steps=1, width=4, bins=17)
    state = run(resumed, folder=tmp_path / "half")
    assert state == expected
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert not list(tmp_path.glob("**/*.partial"))


def test_checkpoint_of_other_settings_is_refused(tmp_path):
    run(make_flow(), folder=tmp_path)
    with pytest.raises(ValueError, match="remove it to start anew"):
        run(make_flow(), folder=tmp_path, seed=1)


def test_best_validated_weights_are_kept(tmp_path):
    """A learning rate that ruins the model after its first steps: validation remembers them."""
    flow = make_flow()
    options = TrainingOptions(
        steps=30, batch_size=20, learning_rate=0.5, evaluate_every=1, grad_clip=1e6
    )
    try:
        state = run(flow, options, folder=tmp_path)
    except TrainingDiverged:
        pytest.fail("meant to become bad, not infinite")
    assert state.best_step < 30
    assert evaluate(flow, small("valid")) == pytest.approx(state.best_valid_bpd)
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    torch.testing.assert_close(flow.state_dict(), best)


def test_a_loss_that_is_not_finite_stops_with_advice():
    flow = make_flow()
    with torch.no_grad():
        flow.levels[0][1].weight.fill_(math.nan)
    with pytest.raises(TrainingDiverged, match="loss is nan at step 0: lower learning_rate"):
        run(flow)


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path):
    flow = make_flow()
    flow.initialize(small("train").images)
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    next(flow.parameters()).register_hook(lambda grad: grad * math.nan)
    with pytest.raises(TrainingDiverged, match="gradient norm is nan at step 0"):
        run(flow, folder=tmp_path)
    torch.testing.assert_close(flow.state_dict(), before)
    assert not (tmp_path / "last.pt").exists()


def test_evaluation_is_repeatable_and_leaves_the_mode():
    flow = make_flow()
    flow.train()
    data = small("test")
    assert evaluate(flow, data) == evaluate(flow, data)
    assert evaluate(flow, data, batch_size=7) == pytest.approx(evaluate(flow, data), abs=0.1)
    assert flow.training


def test_batches_are_permutations():
    steps = [_batch(10, 4, seed=0, step=step) for step in range(5)]
    drawn = torch.cat(steps)
    assert sorted(drawn[:10].tolist()) == sorted(drawn[10:].tolist()) == list(range(10))
    assert drawn[:10].tolist() != drawn[10:].tolist()
    assert _batch(10, 4, seed=1, step=0).tolist() != steps[0].tolist()
    assert len(_batch(3, 8, seed=0, step=2)) == 8


def test_learning_rate():
    options = TrainingOptions(steps=100, learning_rate=1.0, warmup_steps=10, schedule="cosine")
    assert options.rate(0) == pytest.approx(0.1)
    assert options.rate(50) == pytest.approx(0.5)
    assert options.rate(99) < 0.01
    assert TrainingOptions(steps=10, learning_rate=2.0).rate(9) == 2.0
    with pytest.raises(ValueError, match="known: constant, cosine"):
        TrainingOptions(steps=1, schedule="linear")
    with pytest.raises(ValueError, match="at least 1"):
        TrainingOptions(steps=0)
