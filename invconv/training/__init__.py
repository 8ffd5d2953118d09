"""Maximum likelihood training that can be interrupted at any moment, and its evaluation."""

from invconv.flows.files import CheckpointError
from invconv.training.evaluation import bits_per_image, evaluate
from invconv.training.loop import train
from invconv.training.options import TrainingOptions
from invconv.training.run import TrainingDiverged, TrainingState

__all__ = [
    "CheckpointError",
    "TrainingDiverged",
    "TrainingOptions",
    "TrainingState",
    "bits_per_image",
    "evaluate",
    "train",
]
