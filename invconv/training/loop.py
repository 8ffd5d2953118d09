"""The training loop."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path

from tqdm import tqdm

from invconv.data import ImageSet
from invconv.flows import LevelFlow
from invconv.flows.files import load_weights
from invconv.flows.saving import architecture
from invconv.training.distributed import ALONE, World
from invconv.training.interruption import Interruption
from invconv.training.log import TrainingLog
from invconv.training.options import TrainingOptions
from invconv.training.run import Run, TrainingState


def train(
    flow: LevelFlow,
    train_data: ImageSet,
    valid_data: ImageSet,
    options: TrainingOptions,
    seed: int = 0,
    folder: Path | None = None,
    progress: bool = True,
    recipe: Mapping[str, object] | None = None,
    world: World = ALONE,
    watch: Callable[[int], None] | None = None,
) -> TrainingState:
    """Trains by maximum likelihood and leaves the best validated weights in ``flow``.

    The flow's data-dependent initialization sees the first batch. Batches and noise are functions
    of seed and step, so that a run that was interrupted resumes from ``folder/last.pt`` and ends
    with the same weights as one that was not (on a CPU exactly). SIGTERM, SIGUSR2 and
    SIGHUP write such a checkpoint at the next step and are then handed on. The best weights are in
    ``folder/best.pt``, the curves in ``folder/log.csv``.

    Args:
        flow: on the device to train on, freshly made.
        train_data, valid_data: the splits; validation decides which weights are kept.
        options: see `TrainingOptions`.
        seed: of the order of the data and of the noise.
        folder: where checkpoints go; None for none.
        progress: whether to show a bar with bits per dimension, images per second and the time
            that is left.
        recipe: what a checkpoint says besides the weights; its "flow", by which
            `invconv.flows.load` builds the flow again, is that of the flow by default.
        world: the processes that train together, each on its slice of every batch.
        watch: is called by the first of them with the number of steps done: before the first one,
            after half of them, and after the last, each time that a run passes there.

    Raises:
        TrainingDiverged: if loss, gradient or validation are not finite; the message names the
            step and the layer. No weights are changed by that step, and the last checkpoint stays.
        CheckpointError: if the checkpoint is broken, or was made with other options, another
            seed or another architecture.
    """
    recipe = dict(recipe or {})
    if "flow" not in recipe:
        with suppress(TypeError):  # a flow that no file can describe
            recipe["flow"] = architecture(flow)
    run = Run(flow, options, seed, folder, recipe, world)
    run.start(train_data)
    state, leads = run.state, world.rank == 0
    log = TrainingLog(folder if leads else None, state.step, options.tensorboard)
    to_bits = 1 / (math.log(2) * math.prod(flow.shape))
    moments = (0, options.steps // 2, options.steps)
    if watch is not None and leads and state.step == 0:
        watch(0)
    flow.train()
    with (
        Interruption() as interruption,
        closing(log),
        closing(run.batches(train_data)) as batches,
        tqdm(
            total=options.steps,
            initial=state.step,
            desc=f"train {train_data.name}",
            unit="step",
            disable=not (progress and leads),
            mininterval=1.0,
        ) as bar,
    ):
        while state.step < options.steps:
            begin = time.perf_counter()
            images = next(batches)
            loss, norm, interrupted = run.step(images, interruption.signal is not None)
            log.count(loss * to_bits, norm, options.batch_size, time.perf_counter() - begin)
            state.step += 1
            bar.update()
            bar.set_postfix(log.summary(), refresh=False)
            last = state.step == options.steps
            if watch is not None and leads and state.step in moments:
                watch(state.step)
                flow.train()
            valid_bpd = None
            if last or state.step % options.evaluate_every == 0:
                valid_bpd = run.validate(valid_data)
            if last or valid_bpd is not None or state.step % options.log_every == 0:
                log.write(state.step, options.rate(state.step - 1), valid_bpd)
            if last or interrupted or state.step % options.checkpoint_every == 0:
                run.checkpoint()
            if interrupted:
                interruption.pass_on()
    load_weights(flow, run.best, "the best validated weights")
    return state
