"""Maximum likelihood training that can be interrupted, and its evaluation."""

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from invconv.data import ImageSet
from invconv.flows import LevelFlow
from invconv.validation import check_choice

SCHEDULES = ("constant", "cosine")


class TrainingDiverged(ArithmeticError):
    """The loss, its gradient or the validation became NaN or infinite."""


@dataclass
class TrainingOptions:
    """How to train; the budget is a number of optimiser steps, never seconds.

    Attributes:
        steps: optimiser steps.
        batch_size: images per step.
        learning_rate: Adam's, after the warm-up.
        warmup_steps: steps over which the learning rate grows linearly from 0.
        schedule: "constant", or "cosine" down to 0 at the last step.
        grad_clip: the largest gradient norm.
        evaluate_every: steps between validations; the best one's weights are kept.
        checkpoint_every: steps between checkpoints.
    """

    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    schedule: str = "constant"
    grad_clip: float = 1.0
    evaluate_every: int = 200
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        check_choice(self.schedule, SCHEDULES, "schedule")
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(
                f"steps and batch_size must be at least 1, not {self.steps}, {self.batch_size}"
            )

    def rate(self, step: int) -> float:
        """The learning rate of optimiser step ``step``, counted from 0."""
        rate = self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return rate


@dataclass
class TrainingState:
    """Where a training run stands; what a checkpoint holds besides weights and optimiser."""

    step: int = 0
    best_step: int = 0
    best_valid_bpd: float = math.inf


@torch.no_grad()
def evaluate(flow: LevelFlow, data: ImageSet, batch_size: int = 250, seed: int = 0) -> float:
    """Mean bits per dimension of ``data``, one draw of dequantisation noise, seeded."""
    device = next(flow.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    was_training = flow.training
    flow.eval()
    total = 0.0
    for images in data.images.split(batch_size):
        total += flow.bits_per_dim(images.to(device), generator).double().sum().item()
    flow.train(was_training)
    return total / len(data)


def train(
    flow: LevelFlow,
    train_data: ImageSet,
    valid_data: ImageSet,
    options: TrainingOptions,
    seed: int = 0,
    folder: Path | None = None,
    progress: bool = True,
) -> TrainingState:
    """Trains by maximum likelihood with Adam and leaves the best validated weights in ``flow``.

    The flow's data-dependent initialisation sees the first batch. With a ``folder``, a run that
    was interrupted goes on from ``folder/last.pt`` and ends with the same weights as one that
    was not; the best weights are in ``folder/best.pt``.

    Args:
        flow: on the device to train on, freshly made.
        train_data, valid_data: the splits; validation decides which weights are kept.
        options: see `TrainingOptions`.
        seed: of the order of the data and of the noise.
        folder: where checkpoints go; None for none.
        progress: whether to show a bar with loss (nats per image) and bits per dimension.

    Raises:
        TrainingDiverged: if loss, gradient or validation are not finite; no weights are changed
            by that step, and no checkpoint is written.
        ValueError: if the checkpoint was made with other options or another seed.
    """
    device = next(flow.parameters()).device
    noise = torch.Generator(device).manual_seed(seed)
    optimizer = torch.optim.Adam(flow.parameters(), lr=options.learning_rate)
    run = _Run(flow, optimizer, noise, options, seed, folder)
    if not run.resume():
        first = train_data.images[_batch(len(train_data), options.batch_size, seed, 0)]
        flow.initialize(first.to(device), noise)
    state = run.state
    to_bits = 1 / (math.log(2) * math.prod(flow.shape))

    flow.train()
    with tqdm(
        total=options.steps,
        initial=state.step,
        desc=f"train {train_data.name}",
        unit="step",
        disable=not progress,
        mininterval=1.0,
    ) as bar:
        while state.step < options.steps:
            chosen = _batch(len(train_data), options.batch_size, seed, state.step)
            images = train_data.images[chosen].to(device)
            loss = -flow.log_prob(images, noise).mean()
            _check_finite("loss", loss.item(), state.step, options)
            for group in optimizer.param_groups:
                group["lr"] = options.rate(state.step)
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(flow.parameters(), options.grad_clip)
            _check_finite("gradient norm", norm.item(), state.step, options)
            optimizer.step()
            state.step += 1
            bar.update()
            bpd = loss.item() * to_bits
            bar.set_postfix(loss=f"{loss.item():.1f}", bpd=f"{bpd:.3f}", refresh=False)
            last = state.step == options.steps
            if last or state.step % options.evaluate_every == 0:
                run.validate(valid_data)
            if last or state.step % options.checkpoint_every == 0:
                run.checkpoint()
    flow.load_state_dict(run.best)
    return state


def _check_finite(what: str, value: float, step: int, options: TrainingOptions) -> None:
    if not math.isfinite(value):
        raise TrainingDiverged(
            f"the {what} is {value} at step {step}: lower learning_rate "
            f"({options.learning_rate}) or grad_clip ({options.grad_clip}), or lengthen "
            f"warmup_steps ({options.warmup_steps})"
        )


class _Run:
    """Weights, optimiser and noise of one run, and their checkpoint."""

    def __init__(
        self,
        flow: LevelFlow,
        optimizer: torch.optim.Optimizer,
        noise: torch.Generator,
        options: TrainingOptions,
        seed: int,
        folder: Path | None,
    ) -> None:
        self.flow, self.optimizer, self.noise = flow, optimizer, noise
        self.options, self.folder = options, folder
        self.settings = {"seed": seed, **asdict(options)}
        self.state = TrainingState()
        self.best: dict[str, Any] = {}

    def validate(self, data: ImageSet) -> None:
        bpd = evaluate(self.flow, data)
        _check_finite("validation", bpd, self.state.step, self.options)
        if bpd < self.state.best_valid_bpd or not self.best:
            self.state.best_valid_bpd, self.state.best_step = bpd, self.state.step
            self.best = {k: v.detach().clone() for k, v in self.flow.state_dict().items()}
            if self.folder is not None:
                save_atomically(self.best, self.folder / "best.pt")

    def checkpoint(self) -> None:
        if self.folder is None:
            return
        state = {
            "flow": self.flow.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "noise": self.noise.get_state(),
            "state": asdict(self.state),
            "settings": self.settings,
            "best": self.best,
        }
        save_atomically(state, self.folder / "last.pt")

    def resume(self) -> bool:
        if self.folder is None or not (self.folder / "last.pt").exists():
            return False
        saved = torch.load(self.folder / "last.pt", weights_only=True, map_location="cpu")
        if saved["settings"] != self.settings:
            raise ValueError(
                f"{self.folder / 'last.pt'} was made with other settings, {saved['settings']}; "
                "remove it to start anew"
            )
        self.flow.load_state_dict(saved["flow"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.noise.set_state(saved["noise"])
        self.state = TrainingState(**saved["state"])
        self.best = saved["best"]
        return True


def save_atomically(value: Any, path: Path) -> None:
    """``torch.save`` to ``path``, which never holds half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    torch.save(value, partial)
    os.replace(partial, path)


def _batch(size: int, batch_size: int, seed: int, step: int) -> Tensor:
    """The indices of one batch, given by seed and step alone; every epoch is a permutation."""
    wanted = range(step * batch_size, (step + 1) * batch_size)
    pieces = []
    for epoch in range(wanted.start // size, (wanted.stop - 1) // size + 1):
        generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
        permutation = torch.randperm(size, generator=generator)
        pieces.append(
            permutation[max(0, wanted.start - epoch * size) : wanted.stop - epoch * size]
        )
    return torch.cat(pieces)
