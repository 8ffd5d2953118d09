"""What the configurations of several reproductions share."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from invconv.sweeps.sweep import Launch


@dataclass
class Method:
    """A row's method: a registered convolution, its options and the step around it.

    Attributes:
        name: of the row.
        conv: registered.
        step: "common" or "paper", see `invconv.flows.MultiScaleFlow`; where a layer is measured
            alone it does not matter.
        options: of the convolution.
    """

    name: str = MISSING
    conv: str = MISSING
    step: str = "common"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Sweep:
    """What the configuration of every reproduction ends with; none of it changes a result.

    Attributes:
        runs: the folder of the cells.
        results: where the rows of all sweeps and the pages are.
        force: whether to measure again what is done.
        force_changed: the same, where another version of the code measured it.
        launch: how cells are started.
    """

    runs: str = MISSING
    results: str = MISSING
    force: bool = False
    force_changed: bool = False
    launch: Launch = field(default_factory=Launch)


@dataclass
class ModelTiming(Sweep):
    """A whole model with random weights that is timed.

    Attributes:
        width: hidden channels of its couplings.
        preset: which sizes.
        warmup, repeats: of each pass.
        seed: of the weights.
        device: "auto" for a GPU where there is one.
    """

    width: int = MISSING
    preset: str = MISSING
    warmup: int = 1
    repeats: int = 5
    seed: int = 0
    device: str = "auto"
