"""Training, its checkpoints and its failures."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from invconv.data import ImageSet, load
from invconv.flows import MultiScaleFlow
from invconv.flows.files import CheckpointError, read_checkpoint
from invconv.layers import FInC
from invconv.training import (
    TrainingDiverged,
    TrainingOptions,
    bits_per_image,
    evaluate,
    train,
)
from invconv.training.distributed import World
from invconv.training.run import Run

OPTIONS = TrainingOptions(
    steps=12, batch_size=8, warmup_steps=2, schedule="cosine", evaluate_every=5, checkpoint_every=4
)


def small(split, count=40):
    data = load("digits", split)
    return ImageSet(data.name, split, data.images[:count], data.levels)


def make_flow():
    torch.manual_seed(3)
    return MultiScaleFlow("finc", (1, 8, 8), levels=2, steps=1, width=4, bins=17)


def run(flow, options=OPTIONS, folder=None, **kwargs):
    data = small("train"), small("valid")
    return train(flow, *data, options, folder=folder, progress=False, **kwargs)


class Stopped(BaseException):
    pass


def stop_after(flow, steps):
    """The flow dies when it is asked for the likelihood of one batch more."""
    log_prob = flow.log_prob
    batches = 0

    def dies(images, *arguments):
        nonlocal batches
        batches += flow.training
        if batches > steps:
            raise Stopped
        return log_prob(images, *arguments)

    flow.log_prob = dies


def without_noise(dequantization, images, dtype, generator=None):
    noise = torch.full(images.shape, 0.5, dtype=dtype)
    p = (images + noise) / dequantization.bins
    return p.logit(), -(p * (1 - p)).log().flatten(1).sum(1)


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

    interrupted = make_flow()
    stop_after(interrupted, 10)
    with pytest.raises(Stopped):
        run(interrupted, folder=tmp_path / "half")
    saved = torch.load(tmp_path / "half" / "last.pt", weights_only=True)
    assert saved["state"]["step"] == 8
    (tmp_path / "half" / "last.pt.1.partial").write_bytes(b"half")
    torch.manual_seed(99)
    resumed = MultiScaleFlow("finc", (1, 8, 8), levels=2, steps=1, width=4, bins=17)
    state = run(resumed, folder=tmp_path / "half")
    assert state == expected
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert not list(tmp_path.glob("**/*.partial"))


def test_moving_average(tmp_path):
    """The averaged weights are the ones that are validated, stored and resumed."""
    options = replace(OPTIONS, ema=0.5)
    plain, whole, half = make_flow(), make_flow(), make_flow()
    run(plain, OPTIONS)
    run(whole, options, folder=tmp_path / "whole")
    stop_after(half, 10)
    with pytest.raises(Stopped):
        run(half, options, folder=tmp_path / "half")
    resumed = make_flow()
    run(resumed, options, folder=tmp_path / "half")
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    weights = dict(plain.named_parameters())
    assert any(not torch.equal(w, weights[name]) for name, w in whole.named_parameters())


def test_a_batch_in_slices():
    """Slices have noise of their own; with none the gradient is that of the whole batch."""
    silent = make_flow(), make_flow()
    for flow, slices in zip(silent, (1, 4), strict=True):
        flow.dequantization.forward = partial(without_noise, flow.dequantization)
        run(flow, replace(OPTIONS, accumulate=slices))
    weights = [flow.state_dict() for flow in silent]
    torch.testing.assert_close(*weights, rtol=1e-3, atol=1e-4)


def test_uneven_slices_count_by_their_images():
    """Of ten images in four slices, 3 + 3 + 3 + 1, each counts once: a learning rate of 0 and
    no noise leave the loss of the whole batch."""
    losses = []
    for slices in (1, 4):
        flow = make_flow()
        flow.dequantization.forward = partial(without_noise, flow.dequantization)
        options = TrainingOptions(steps=1, batch_size=20, accumulate=slices, learning_rate=0.0)
        trained = Run(flow, options, 0, None, {}, World())
        data = small("train")
        trained.start(data)
        losses.append(trained.step(next(trained.batches(data))[:10], False)[0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_the_penalty_of_a_layer_is_trained():
    class Penalised(FInC):
        def extra_loss(self, x, z):
            return 100 * self.weight.square().sum().expand(len(x))

    data = small("train")
    losses, norms = {}, {}
    for name, kind in (("plain", FInC), ("penalised", Penalised)):
        flow = make_flow()
        for layer in flow.modules():
            if isinstance(layer, FInC):
                layer.__class__ = kind
                last = layer
        options = replace(OPTIONS, learning_rate=1e-2, grad_clip=0.0)
        trained = Run(flow, options, 0, None, {}, World())
        trained.start(data)
        batches = trained.batches(data)
        losses[name] = trained.step(next(batches), False)[0]
        for _ in range(10):
            trained.step(next(batches), False)
        norms[name] = last.weight.norm().item()
        assert not last._forward_hooks
    assert losses["penalised"] > losses["plain"] + 1
    assert norms["penalised"] < norms["plain"]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler warns of much, in modules of its own
def test_compiled_training_ends_where_the_plain_one_does(tmp_path):
    plain, compiled = make_flow(), make_flow()
    run(plain, OPTIONS, folder=tmp_path)
    run(compiled, replace(OPTIONS, compile=True))
    torch.testing.assert_close(plain.state_dict(), compiled.state_dict(), rtol=1e-3, atol=1e-4)
    again = make_flow()
    run(again, replace(OPTIONS, compile=True), folder=tmp_path)
    torch.testing.assert_close(plain.state_dict(), again.state_dict(), rtol=0, atol=0)


def test_the_log_of_an_interrupted_run_is_that_of_a_whole_one(tmp_path):
    options = replace(OPTIONS, log_every=3)
    run(make_flow(), options, folder=tmp_path / "whole")
    flow = make_flow()
    stop_after(flow, 10)
    with pytest.raises(Stopped):
        run(flow, options, folder=tmp_path / "half")
    with (tmp_path / "half" / "log.csv").open("a") as file:
        file.write("11,2.")
    run(make_flow(), options, folder=tmp_path / "half")
    whole, half = (pd.read_csv(tmp_path / name / "log.csv") for name in ("whole", "half"))
    assert list(whole["step"]) == [3, 5, 6, 9, 10, 12] == list(half["step"])
    assert list(whole["valid_bpd"].notna()) == [False, True, False, False, True, True]
    pd.testing.assert_series_equal(whole["valid_bpd"], half["valid_bpd"])
    assert (whole["images_per_s"] > 0).all()
    assert (whole["train_bpd"] > 0).all()
    assert whole["learning_rate"].iloc[0] == pytest.approx(OPTIONS.rate(2))


def test_tensorboard(tmp_path):
    run(make_flow(), replace(OPTIONS, tensorboard=True, log_every=4), folder=tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("valid_bpd")] == [5, 10, 12]
    log = pd.read_csv(tmp_path / "log.csv").dropna()
    assert [event.value for event in events.Scalars("valid_bpd")] == pytest.approx(
        list(log["valid_bpd"])
    )


def test_checkpoint_of_other_settings_is_refused(tmp_path):
    recipe = {"flow": {"width": 4}, "data": "digits"}
    run(make_flow(), folder=tmp_path, recipe=recipe)
    with pytest.raises(CheckpointError, match="seed is 0 there, 1 here; delete it to start over"):
        run(make_flow(), folder=tmp_path, recipe=recipe, seed=1)
    with pytest.raises(CheckpointError, match=r"flow\.width is 4 there, 8 here"):
        run(make_flow(), folder=tmp_path, recipe={"flow": {"width": 8}, "data": "digits"})
    run(make_flow(), replace(OPTIONS, checkpoint_every=1, log_every=1), tmp_path, recipe=recipe)


def test_checkpoint_of_another_architecture_is_refused(tmp_path):
    wider = MultiScaleFlow("finc", (1, 8, 8), levels=2, steps=1, width=6, bins=17)
    deeper = MultiScaleFlow("finc", (1, 8, 8), levels=2, steps=2, width=4, bins=17)
    told, untold = tmp_path / "told", tmp_path / "untold"
    run(make_flow(), folder=told)
    with pytest.raises(CheckpointError, match=r"flow\.width is 4 there, 6 here"):
        run(wider, folder=told)
    nothing = {"flow": {}}
    run(make_flow(), folder=untold, recipe=nothing)
    with pytest.raises(CheckpointError, match=r"another architecture: its '.*' has shape"):
        run(wider, folder=untold, recipe=nothing)
    with pytest.raises(CheckpointError, match=r"another architecture: it has no 'levels"):
        run(deeper, folder=untold, recipe=nothing)


@pytest.mark.parametrize("kept", [0, 1, 1000, -1])
def test_broken_checkpoint(tmp_path, kept):
    run(make_flow(), folder=tmp_path)
    path = tmp_path / "last.pt"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"last\.pt is not a whole checkpoint .*: delete it"):
        run(make_flow(), folder=tmp_path)


def test_hostile_checkpoint_executes_nothing(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"flow": Hostile()}, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        run(make_flow(), folder=tmp_path)
    assert not (tmp_path / "executed").exists()


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
    best = torch.load(tmp_path / "best.pt", weights_only=True)["flow"]
    torch.testing.assert_close(flow.state_dict(), best)


def test_a_loss_that_is_not_finite_names_its_layer(tmp_path):
    flow = make_flow()
    forward = flow.levels[1][2].forward
    calls = 0

    def breaks(x):
        nonlocal calls
        calls += flow.training
        z, log_det = forward(x)
        return z, log_det * math.nan if calls > 7 else log_det

    flow.levels[1][2].forward = breaks
    place = r"loss is nan at step 6, the log_det of level 1, layer 2 \(ActNorm\) first: lower"
    with pytest.raises(TrainingDiverged, match=place):
        run(flow, folder=tmp_path)
    assert read_checkpoint(tmp_path / "last.pt")["state"]["step"] == 4


def test_an_output_that_is_not_finite_names_its_layer():
    flow = make_flow()
    with torch.no_grad():
        flow.levels[0][1].weight.fill_(math.nan)
    place = r"loss is nan at step 0, the output of level 0, layer 1 \(FInC\) first: lower"
    with pytest.raises(TrainingDiverged, match=place):
        run(flow)


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path):
    flow = make_flow()
    flow.initialize(small("train").images)
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    name, parameter = next(iter(flow.named_parameters()))
    parameter.register_hook(lambda grad: grad * math.nan)
    with pytest.raises(
        TrainingDiverged, match=f"gradient norm is nan at step 0, the gradient of {name} first"
    ):
        run(flow, folder=tmp_path)
    torch.testing.assert_close(flow.state_dict(), before)
    assert not (tmp_path / "last.pt").exists()


def test_a_validation_that_is_not_finite_keeps_the_last_checkpoint(tmp_path):
    flow = make_flow()
    forward = flow.levels[0][1].forward

    def breaks(x):
        z, log_det = forward(x)
        return (z, log_det) if flow.training else (z / 0, log_det)

    flow.levels[0][1].forward = breaks
    with pytest.raises(TrainingDiverged, match=r"validation is .* at step 5, the output of level"):
        run(flow, folder=tmp_path)
    assert read_checkpoint(tmp_path / "last.pt")["state"]["step"] == 4


def test_evaluation_is_repeatable_and_leaves_the_mode():
    flow = make_flow()
    flow.train()
    data = small("test")
    assert evaluate(flow, data) == evaluate(flow, data)
    other, same = (bits_per_image(flow, data, size, draws=16).mean() for size in (7, 250))
    assert other == pytest.approx(same.item(), abs=0.1)
    with pytest.raises(ValueError, match="batch_size must be an int of at least 1, not -1"):
        evaluate(flow, data, batch_size=-1)
    flow.bits_per_dim = None
    with pytest.raises(TypeError):
        evaluate(flow, data)
    assert flow.training


def test_learning_rate():
    options = TrainingOptions(steps=100, learning_rate=1.0, warmup_steps=10, schedule="cosine")
    assert options.rate(0) == pytest.approx(0.1)
    assert options.rate(50) == pytest.approx(0.5)
    assert options.rate(99) < 0.01
    assert TrainingOptions(steps=10, learning_rate=2.0).rate(9) == 2.0
    with pytest.raises(ValueError, match="known: constant, cosine"):
        TrainingOptions(steps=1, schedule="linear")
    stairs = TrainingOptions(steps=9, learning_rate=1.0, schedule="step", decay_every=4)
    assert [stairs.rate(step) for step in (3, 4, 8)] == pytest.approx([1, 0.1, 0.01])
    slope = replace(stairs, schedule="exponential")
    assert [slope.rate(step) for step in (0, 4, 6)] == pytest.approx([1, 0.1, 0.1**1.5])
    with pytest.raises(ValueError, match="at least 1"):
        TrainingOptions(steps=0)
    with pytest.raises(ValueError, match="accumulate must divide batch_size, 64; 3 does not"):
        TrainingOptions(steps=1, accumulate=3)
    with pytest.raises(ValueError, match="grad_clip must be 0"):
        TrainingOptions(steps=1, grad_clip=-1.0)
    with pytest.raises(ValueError, match="ema must be"):
        TrainingOptions(steps=1, ema=1.0)
    with pytest.raises(ValueError, match="known: adam, adamax"):
        TrainingOptions(steps=1, optimizer="sgd")


def test_who_watches_is_called_before_amid_and_after(tmp_path):
    flow, seen = make_flow(), []

    def watch(step):
        seen.append((step, flow.eval().training))

    run(flow, folder=tmp_path, watch=watch)
    assert seen == [(0, False), (6, False), (12, False)]
    again = make_flow()
    run(again, folder=tmp_path, watch=watch)
    assert len(seen) == 3  # a run that was done
    assert largest_change(flow, run_alone()) == 0


def run_alone():
    flow = make_flow()
    run(flow)
    return flow


def largest_change(flow, other):
    pairs = zip(flow.parameters(), other.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)
