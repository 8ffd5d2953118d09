"""Maximum likelihood training that can be interrupted at any moment, and its evaluation."""

from invconv.training.checkpoint import CheckpointError
from invconv.training.evaluation import bits_per_image, build_flow, evaluate, load_flow
from invconv.training.loop import train
from invconv.training.options import TrainingOptions
from invconv.training.run import TrainingDiverged, TrainingState

__all__ = [
    "CheckpointError",
    "TrainingDiverged",
    "TrainingOptions",
    "TrainingState",
    "bits_per_image",
    "build_flow",
    "evaluate",
    "load_flow",
    "train",
]
