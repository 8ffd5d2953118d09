"""What the configurations of several reproductions share."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


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
