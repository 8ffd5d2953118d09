"""What a cell against n and k is asked: a training, or the times of all models or layers."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from invconv.bench import Clock
from invconv.methods import Method, methods
from invconv.report.grids import swept
from invconv.sweeps.config import IDENTITY, neutral
from invconv.sweeps.groups import method_node
from invconv.tables.trained import MultiScale
from invconv.tables.versus_pictures import KERNEL, REFERENCE
from invconv.training import TrainingOptions
from invconv.validation import check_choice

PARTS = ("train", "models", "layers")
STEPS = {8: 2000, 16: 2000, 32: 600}
"""Training steps by n, equal over methods."""
MODEL_POINTS = ("n8k3", "n16k3", "n32k3", "n16k2", "n16k5", "n16k7")
LAYER_POINTS = (*(f"n{n}k3" for n in (8, 16, 32, 64, 128)), *(f"n32k{k}" for k in (2, 5, 7, 9)))


@dataclass
class Versus(MultiScale):
    """One training, the times of all models in one block, or those of all layers in one."""

    part: str = "train"
    """"train", "models" or "layers"."""
    k: int | None = neutral(None)
    """Of what is trained; None where a method has no kernel size."""
    points: list[str] = field(default_factory=list, metadata={IDENTITY: "neutral"})
    """What is timed, such as "n8k3"."""
    channels: int = neutral(3)
    batch: int = neutral(100)
    clock: Clock = field(default_factory=Clock, metadata={IDENTITY: "neutral"})

    def __post_init__(self) -> None:
        check_choice(self.part, PARTS, "part")
        if self.part == "train":
            self.points, self.channels, self.batch, self.clock = [], 3, 100, Clock()
        else:
            self.seed = 0
            self.budget = replace(self.budget, training=TrainingOptions(steps=1))


def size_of(point: str) -> tuple[int, int]:
    """Return n and k of a point.

    >>> from invconv.tables.versus_config import size_of
    >>> size_of("n16k5")
    (16, 5)
    """
    n, _, k = point.removeprefix("n").partition("k")
    if not (point.startswith("n") and n.isdecimal() and k.isdecimal()):
        raise ValueError(f"a point must be such as n16k5, not {point!r}")
    return int(n), int(k)


def kernel_of(name: str, k: int) -> tuple[Method, int | None] | None:
    """Return a method at kernel size k, and k, or None where it has no kernel size.

    None instead of both where the method is not at k: one without a kernel size, as Glow, the
    two Woodbury and Butterfly, is at k = 3 alone, and the masks, series and learned inverses of
    Emerging, MaCow, both exponentials, SNF and MintNet have a center, and odd k only.

    >>> from invconv.tables.versus_config import kernel_of
    >>> kernel_of("finc", 5)[0].options, kernel_of("emerging", 2), kernel_of("glow", 3)[1]
    ({'kernel_size': 5}, None, None)
    """
    one = methods()[name]
    if (found := one.with_kernel(k)) is not None:
        return found, k
    return (one, None) if k == KERNEL else None


def cases() -> Iterator[tuple[str, dict[str, object]]]:
    """Yield every training, what is timed of models, and what of layers."""
    for point in MODEL_POINTS:
        n, k = size_of(point)
        for name in swept():
            if (found := kernel_of(name, k)) is not None:
                data = {"name": "photographs", "size": n}
                budget = {"training": {"steps": STEPS[n]}}
                trained = {"dataset": data, "k": found[1], "budget": budget}
                yield f"{name}_{point}", {"method": method_node(found[0]), **trained}
    # the layer is that which others are divided by
    timed: dict[str, object] = {
        "method": {"name": "times", "conv": REFERENCE},
        "dataset": {"name": "photographs"},
        "budget": {"training": {"steps": 1}},  # nothing is trained
    }
    thrice = {"clock": {"processes": 3}}  # the layers' slowest calls would take hours so
    yield "models", {"part": "models", "points": list(MODEL_POINTS), **timed, **thrice}
    for channels in (12, 48):
        for batch in (1, 100):
            size = {"channels": channels, "batch": batch}
            place: dict[str, object] = {**size, "points": list(LAYER_POINTS)}
            yield f"layers_c{channels}_b{batch}", {"part": "layers", **place, **timed}


CASES = dict(cases())
