"""Weights, optimizer and noise of one training run, and their checkpoint."""

import math
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from invconv.data import ImageSet
from invconv.data.loader import Loader
from invconv.files import brief, remove_partial
from invconv.flows import LevelFlow
from invconv.flows.files import (
    CheckpointError,
    check_weights,
    load_weights,
    read_checkpoint,
    save_atomically,
)
from invconv.seeds import hashed
from invconv.training.checkpoint import check_moments, check_settings
from invconv.training.diagnosis import first_bad_gradient, first_non_finite
from invconv.training.distributed import World
from invconv.training.evaluation import evaluate
from invconv.training.objective import Objective
from invconv.training.options import NOT_SETTINGS, TrainingOptions


class TrainingDiverged(ArithmeticError):
    """The loss, its gradient or the validation became NaN or infinite."""


@dataclass
class TrainingState:
    """Where a training run stands; what a checkpoint holds besides weights and optimizer."""

    step: int = 0
    best_step: int = 0
    best_valid_bpd: float = math.inf

    def __post_init__(self) -> None:
        if any(type(step) is not int or step < 0 for step in (self.step, self.best_step)):
            raise ValueError("step and best_step must be integers from 0")
        if type(self.best_valid_bpd) is not float:
            raise ValueError(f"best_valid_bpd must be a float, not {self.best_valid_bpd!r}")


class Run:
    """One run; the arguments are those of `invconv.training.train`.

    Attributes:
        state: where it stands.
        best: the best validated weights.
    """

    def __init__(
        self,
        flow: LevelFlow,
        options: TrainingOptions,
        seed: int,
        folder: Path | None,
        recipe: dict[str, Any],
        world: World,
    ) -> None:
        self.flow, self.options, self.folder, self.world = flow, options, folder, world
        self.seed, self.recipe = seed, recipe
        self.device = next(flow.parameters()).device
        self.noise = torch.Generator(self.device)
        kept = {k: v for k, v in asdict(options).items() if k not in NOT_SETTINGS}
        self.settings = {"seed": seed, **kept}
        self.state = TrainingState()
        self.best: dict[str, Any] = {}
        kind = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}[options.optimizer]
        self.optimizer = kind(flow.parameters(), lr=options.learning_rate)
        self.average: AveragedModel | None = None
        stored = int(options.stored_megabytes * 2**20)
        flow.reversible.budget = stored if options.stored_megabytes else None

    def start(self, data: ImageSet) -> None:
        """Resumes from the checkpoint, or initializes the flow on the first batch."""
        torch.backends.cuda.matmul.allow_tf32 = self.options.precision == "tf32"
        torch.backends.cudnn.allow_tf32 = self.options.precision == "tf32"
        saved = self._saved()
        if saved is None:
            whole = Loader(data, self.options.batch_size, self.seed, device=self.device)
            self._seed_noise(-1, 0)
            try:
                self.flow.initialize(whole.batch(0), self.noise)
            except ValueError:
                place = first_non_finite(self.flow, lambda: self.flow(whole.batch(0), self.noise))
                if not place:
                    raise
                self._diverged("loss", math.nan, place)
        else:
            load_weights(self.flow, saved["flow"], f"{self.folder}/last.pt")
            if saved["best"]:
                check_weights(self.flow, saved["best"], f"the best of {self.folder}/last.pt")
        if self.options.ema:
            self.average = AveragedModel(
                self.flow, multi_avg_fn=get_ema_multi_avg_fn(self.options.ema)
            )
        if saved is not None:
            self._restore(saved)
        objective: nn.Module = Objective(self.flow, self.options.memory)
        if self.world.size > 1:
            objective = DistributedDataParallel(objective, broadcast_buffers=False)
        if self.options.compile:
            objective.compile()
        self.objective = objective

    def batches(self, data: ImageSet) -> Generator[Tensor, None, None]:
        """This process's part of every batch from the next one on, on the device."""
        options, world = self.options, self.world
        loader = Loader(
            data,
            options.batch_size,
            self.seed,
            flip=options.flip,
            affine=options.affine,
            device=self.device,
            rank=world.rank,
            world_size=world.size,
        )
        return loader.stream(self.state.step)

    def step(self, images: Tensor, interrupted: bool) -> tuple[float, float, bool]:
        """One optimizer step: the loss in nats per image, the gradient's norm before clipping,
        and whether any process was asked to stop."""
        options, step = self.options, self.state.step
        for group in self.optimizer.param_groups:
            group["lr"] = options.rate(step)
        self.optimizer.zero_grad()
        slices = images.chunk(options.accumulate)
        total = torch.zeros((), device=self.device)
        for i, part in enumerate(slices):
            self._seed_noise(step, i)
            with nullcontext() if i == len(slices) - 1 else self._without_exchange():
                loss = self.objective(part, self.noise) * (len(part) / len(images))
                loss.backward()
            total += loss.detach()
        weights = [weight for weight in self.flow.parameters() if weight.grad is not None]
        size = nn.utils.get_total_norm([cast(Tensor, weight.grad) for weight in weights])
        stop = torch.tensor(float(interrupted), device=self.device)
        total, stop = self.world.total(torch.stack([total / self.world.size, stop]))
        loss, norm, stop = torch.stack([total, size, stop]).tolist()
        if not math.isfinite(loss):
            place = first_non_finite(self.flow, lambda: self._repeat(slices))
            self._diverged("loss", loss, place)
        if not math.isfinite(norm):
            self._diverged("gradient norm", norm, first_bad_gradient(self.flow))
        if options.grad_clip:
            nn.utils.clip_grads_with_norm_(weights, options.grad_clip, size)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.flow)
        return loss, norm, stop > 0

    def validate(self, data: ImageSet) -> float:
        """Bits per dimension of the validation split; the best weights are kept."""
        flow = self.flow if self.average is None else cast(LevelFlow, self.average.module)
        bpd = evaluate(flow, data, world=self.world)
        if not math.isfinite(bpd):
            place = first_non_finite(flow, lambda: evaluate(flow, data))
            self._diverged("validation", bpd, place)
        if bpd < self.state.best_valid_bpd or not self.best:
            self.state.best_valid_bpd, self.state.best_step = bpd, self.state.step
            self.best = {k: v.detach().clone() for k, v in flow.state_dict().items()}
            self._save({"flow": self.best, "recipe": self.recipe}, "best.pt")
        return bpd

    def checkpoint(self) -> None:
        """Write all that `start` needs to go on exactly here."""
        state = {
            "flow": self.flow.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "random": torch.get_rng_state(),
            "state": asdict(self.state),
            "settings": self.settings,
            "recipe": self.recipe,
            "best": self.best,
        }
        self._save(state, "last.pt")

    def _save(self, value: dict[str, Any], name: str) -> None:
        if self.folder is not None and self.world.rank == 0:
            save_atomically(value, self.folder / name)

    def _saved(self) -> dict[str, Any] | None:
        if self.folder is None or not (self.folder / "last.pt").exists():
            return None
        path = self.folder / "last.pt"
        remove_partial(self.folder)
        saved = read_checkpoint(
            path,
            flow=Mapping,
            optimizer=Mapping,
            average=(Mapping, type(None)),
            random=Tensor,
            state=dict,
            settings=dict,
            recipe=dict,
            best=Mapping,
        )
        check_settings(saved["settings"], self.settings, path)
        check_settings(saved["recipe"], self.recipe, path)
        return saved

    def _restore(self, saved: dict[str, Any]) -> None:
        try:
            self.optimizer.load_state_dict(saved["optimizer"])
            check_moments(self.optimizer)
            if (self.average is None) != (saved["average"] is None):
                raise ValueError("its average of the weights is there, or is not, against ema")
            if self.average is not None:
                self.average.load_state_dict(saved["average"])
            torch.set_rng_state(saved["random"])
            if saved["state"].keys() != asdict(self.state).keys():
                raise ValueError(f"its state holds {', '.join(saved['state']) or 'nothing'}")
            self.state = TrainingState(**saved["state"])
            if bool(saved["best"]) != (self.state.best_valid_bpd < math.inf):
                raise ValueError("its best weights and their bits per dimension do not fit")
        except Exception as error:
            why = f"{brief(error)}. Delete it to start over"
            raise CheckpointError(f"cannot resume from {self.folder}/last.pt: {why}") from error
        self.best = dict(saved["best"])

    def _seed_noise(self, step: int, piece: int) -> None:
        """Noise by seed, step and slice: there is no state of it to keep."""
        piece += self.world.rank * self.options.accumulate
        self.noise.manual_seed(hashed(self.seed, step, piece))

    def _repeat(self, slices: tuple[Tensor, ...]) -> None:
        for i, part in enumerate(slices):
            self._seed_noise(self.state.step, i)
            self.flow.log_prob(part, self.noise)

    def _without_exchange(self) -> AbstractContextManager[None]:
        objective: Any = self.objective
        parallel = isinstance(objective, DistributedDataParallel)
        return objective.no_sync() if parallel else nullcontext()

    def _diverged(self, what: str, value: float, place: str) -> NoReturn:
        options = self.options
        raise TrainingDiverged(
            f"the {what} is {value} at step {self.state.step}"
            + (f", {place} first" if place else "")
            + f": lower learning_rate ({options.learning_rate}) or grad_clip "
            f"({options.grad_clip}), or lengthen warmup_steps ({options.warmup_steps})"
        )
