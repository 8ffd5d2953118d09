"""What the configurations of several tables share, and which part of one names its cell."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from omegaconf import MISSING, OmegaConf

from invconv.bench.clock import Clock
from invconv.files import user_path

T = TypeVar("T")
IDENTITY = "identity"


# where Hydra itself makes a sweep's folder; in jobs, too, which import this
OmegaConf.register_new_resolver("user_path", lambda text: str(user_path(text)), replace=True)


def aside(default: T) -> T:
    """A field of a configuration that cannot change a result."""
    return field(default=default, metadata={IDENTITY: "aside"})


def neutral(default: T) -> T:
    """A field that names a cell only where it has another value: one that came later."""
    return field(default=default, metadata={IDENTITY: "neutral"})


def identity(config: object) -> dict[str, object]:
    """The part of a configuration that can change a result; cells are named by its hash.

    Fields that are `aside` are left out, those that are `neutral` where they have their default.
    """
    found: dict[str, object] = {}
    for part in fields(config):  # type: ignore[arg-type]
        value, kind = getattr(config, part.name), part.metadata.get(IDENTITY)
        default = part.default_factory() if callable(part.default_factory) else part.default
        if kind != "aside" and not (kind == "neutral" and value == default):
            found[part.name] = identity(value) if is_dataclass(value) else value
    return found


@dataclass
class ChosenMethod:
    """A row's method: a registered convolution, its options and the step around it.

    Its ``step`` is that of an `invconv.about.Variant`; where a layer is
    measured alone it does not matter.
    """

    name: str = MISSING
    conv: str = MISSING
    step: str = neutral("common")
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Launch:
    """How cells are started; `hydra.launcher` is what starts them."""

    detach: bool = False
    """Submit to SLURM and return; ``python -m invconv list`` and ``collect`` do the rest."""
    exclusive: bool | None = None
    """Whether a SLURM job has its node for itself; None: if it times on a CPU."""
    side_by_side: int = 2
    """Cells at a time, with ``launch=local``."""


@dataclass
class Sweep:
    """What the configuration of every table has."""

    preset: str = neutral("default")
    device: str = "auto"
    runs: str = aside(MISSING)
    """The folder of the cells."""
    results: str = aside(MISSING)
    """Where the rows of all sweeps and the pages are."""
    force: bool = aside(False)
    """Whether to measure again what is done."""
    force_changed: bool = aside(False)
    """The same, where another version of the code measured it."""
    skip_collected: bool = aside(False)
    """Whether a cell with an ok row in ``results``, of any machine, is done: for trainings, which
    may go on elsewhere."""
    launch: Launch = field(default_factory=Launch, metadata={IDENTITY: "aside"})

    def check_paths(self) -> None:
        """Raise OSError if the cell's own paths do not exist."""


@dataclass
class ModelTiming(Sweep):
    """A whole model with random weights, whose couplings have ``width`` hidden channels."""

    width: int = MISSING
    seed: int = 0
    clock: Clock = field(default_factory=Clock)


QUICK = {"rounds": 2, "warmup": 1, "processes": 1, "window": 0.0}
"""The clock of "tiny" presets, whose times mean nothing."""


@dataclass(frozen=True)
class Preset:
    """The sizes at which a table is measured."""

    settings: Mapping[str, object] = field(default_factory=dict)
    sweep: Mapping[str, str] = field(default_factory=dict)
    """What is swept where the command line says nothing, in Hydra's words."""
    minutes: float = 0
    """About how long it takes on two cores."""
    launch: str = ""
    """How the cells are started where the command line says nothing; "" is "basic"."""
