"""What a cell of table 2 is asked: a method, data, a model, its training, and a clock."""

from dataclasses import dataclass, field, replace

from invconv.bench import Clock
from invconv.methods import methods
from invconv.sweeps.config import IDENTITY, ChosenMethod, neutral
from invconv.tables.trained import MultiScale
from invconv.training import TrainingOptions
from invconv.validation import check_choice

PARTS = ("train", "time")
IMAGES = 100
TIMES = "times"
"""The name that the one timing cell of a data set has in place of a method's."""


@dataclass
class Table2(MultiScale):
    """One cell: the training of one method, or the times of all of them in one block.

    Not every part of a cell has a meaning for both; what has none is set to its default.
    """

    part: str = neutral("train")
    """"train": bits per dimension; "time": FT, ST and the training step, of random weights."""
    methods: list[str] = field(default_factory=list, metadata={IDENTITY: "neutral"})
    """Those that are timed together; by default those of the sweep."""
    images: int = neutral(IMAGES)
    """How many are timed at once."""
    clock: Clock = field(default_factory=Clock, metadata={IDENTITY: "neutral"})

    def __post_init__(self) -> None:
        check_choice(self.part, PARTS, "part")
        if self.part == "train":
            self.methods, self.images, self.clock = [], IMAGES, Clock()
            return
        known = methods().get(self.method.name)
        if known is not None and dict(self.method.options) != dict(known.options):
            raise ValueError(
                "part=time takes the methods as they are registered, without other options: ask "
                "for part=train, or register a variant of the layer"
            )
        self.methods = self.methods or [self.method.name]
        self.method, self.seed = ChosenMethod(name=TIMES, conv=TIMES), 0
        self.budget = replace(self.budget, training=TrainingOptions(steps=1))
