"""How to train: everything that a preset may set."""

import math
from dataclasses import dataclass, field
from typing import TypeVar

from invconv.flows.reversible import MEMORY
from invconv.validation import check_choice

OPTIMIZERS = ("adam", "adamax")
SCHEDULES = ("constant", "cosine", "step", "exponential")
PRECISIONS = ("float32", "tf32")
NOT_SETTINGS = (
    *("checkpoint_every", "log_every", "tensorboard", "compile", "precision"),
    *("memory", "stored_megabytes"),
)
"""What a run that resumes from a checkpoint may have changed."""

T = TypeVar("T")


def _neutral(default: T) -> T:
    """A field that came later: with its default a cell is the one that it was before."""
    made: T = field(default=default, metadata={"identity": "neutral"})
    return made


def _aside(default: T) -> T:
    """A field that changes no result."""
    made: T = field(default=default, metadata={"identity": "aside"})
    return made


@dataclass
class TrainingOptions:
    """How to train; the budget is a number of optimizer steps, never seconds.

    Attributes:
        steps: optimizer steps.
        batch_size: images per step, over all processes.
        optimizer: "adam" or "adamax".
        learning_rate: after the warm-up.
        warmup_steps: steps over which the learning rate grows linearly from 0.
        schedule: "constant"; "cosine" down to 0 after the last step; "step", times ``decay`` every
            ``decay_every`` steps; or "exponential", the same without jumps.
        decay, decay_every: of the last two.
        grad_clip: the largest gradient norm; 0 for no limit.
        accumulate: into how many slices a batch is cut, so that it fits the memory.
        ema: decay of the moving average of the weights, which is then what is validated and
            kept; 0 for none.
        flip: whether training images are mirrored at random.
        affine: by which part of their size they are shifted at random at most.
        precision: "float32", or "tf32" for matrix products and convolutions on a GPU.
        compile: whether to run the flow through `torch.compile`.
        memory: "ordinary", or "reversible" or "auto" to recompute activations by inverses, see
            `invconv.flows.MultiScaleFlow.log_prob`.
        stored_megabytes: what "auto" may store because of rounding errors; 0 for any amount.
        evaluate_every: steps between validations; the best one's weights are kept.
        checkpoint_every: steps between checkpoints.
        log_every: steps between lines of the log.
        tensorboard: whether to write TensorBoard's files, too.
    """

    steps: int
    batch_size: int = 64
    optimizer: str = _neutral("adam")
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    schedule: str = "constant"
    decay: float = _neutral(0.1)
    decay_every: int = _neutral(1000)
    grad_clip: float = 1.0
    accumulate: int = _neutral(1)
    ema: float = _neutral(0.0)
    flip: bool = _neutral(False)
    affine: float = _neutral(0.0)
    precision: str = _neutral("float32")
    compile: bool = _neutral(False)
    memory: str = _neutral("ordinary")
    stored_megabytes: float = _neutral(0.0)
    evaluate_every: int = 200
    checkpoint_every: int = 200
    log_every: int = _aside(50)
    tensorboard: bool = _aside(False)

    def __post_init__(self) -> None:
        check_choice(self.optimizer, OPTIMIZERS, "optimizer")
        check_choice(self.schedule, SCHEDULES, "schedule")
        check_choice(self.precision, PRECISIONS, "precision")
        counts = ("steps", "batch_size", "accumulate", "decay_every")
        for name in (*counts, "evaluate_every", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be from 0 (none) to below 1, not {self.ema}")
        check_choice(self.memory, MEMORY, "memory")
        if self.memory != "ordinary" and self.compile:
            raise ValueError(f"memory={self.memory} runs in eager mode alone: set compile=false")
        if not self.stored_megabytes >= 0:
            raise ValueError(f"stored_megabytes must be at least 0, not {self.stored_megabytes}")
        if not self.grad_clip >= 0:
            raise ValueError(f"grad_clip must be 0 (none) or a norm above, not {self.grad_clip}")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate must divide batch_size, {self.batch_size}; {self.accumulate} does not"
            )

    def rate(self, step: int) -> float:
        """The learning rate of optimizer step ``step``, counted from 0."""
        rate = self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / self.steps))
        elif self.schedule == "step":
            rate *= self.decay ** (step // self.decay_every)
        elif self.schedule == "exponential":
            rate *= self.decay ** (step / self.decay_every)
        return rate
