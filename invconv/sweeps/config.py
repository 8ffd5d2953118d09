"""What the configurations of several tables share, and which part of one names its cell."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from omegaconf import MISSING

T = TypeVar("T")
IDENTITY = "identity"


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
class Method:
    """A row's method: a registered convolution, its options and the step around it.

    Its ``step`` is "common" or "paper", see `invconv.flows.MultiScaleFlow`; where a layer is
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
    launch: Launch = field(default_factory=Launch, metadata={IDENTITY: "aside"})


@dataclass
class ModelTiming(Sweep):
    """A whole model with random weights, whose couplings have ``width`` hidden channels."""

    width: int = MISSING
    warmup: int = 1
    repeats: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Preset:
    """The sizes at which a table is measured."""

    settings: Mapping[str, object] = field(default_factory=dict)
    sweep: Mapping[str, str] = field(default_factory=dict)
    """What is swept where the command line says nothing, in Hydra's words."""
    minutes: float = 0
    """About how long it takes on two cores."""
