"""What a layer says of itself for tables and figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Options = Mapping[str, Any]
"""Keyword arguments of a constructor, as configurations and checkpoints have them."""
Step = Literal["common", "paper", "net"]


@dataclass(frozen=True)
class Variant:
    """One method of a layer: its options and the step of the flow around it.

    Attributes:
        options: of the layer's constructor.
        step: "common" or "paper", see `invconv.flows.MultiScaleFlow`; "net" for the whole net of
            the paper in place of that, the flow of the layer's name.
        title: "" for the layer's title if the variant has the layer's name, for "TITLE, own step"
            inside the paper's step, and otherwise for the variant's name.
        color, marker: "" for those of the layer.
        swept: whether the default sweeps of all tables include it.
    """

    options: Options = field(default_factory=dict)
    step: Step = "common"
    title: str = ""
    color: str = ""
    marker: str = ""
    swept: bool = True


@dataclass(frozen=True)
class About:
    """The title, paper, look and variants of a layer.

    Attributes:
        title: its name on every page; "" shows its variants by their names.
        paper: authors, title, and arXiv number or DOI.
        year: of the paper.
        color: hexadecimal, such as "#CC6677"; "" for gray.
        marker: a marker of matplotlib; "" for a dot.
        variants: method name → variant; by default one, named as the layer.
        released: the authors' code whose recorded outputs the layer gives for the same weights, as
            "github.com/OWNER/NAME@COMMIT", see tests/data; "" where no test compares with any.
        agrees: how far it agrees with that code.
    """

    title: str
    paper: str
    year: int
    color: str = ""
    marker: str = ""
    variants: Mapping[str, Variant] = field(default_factory=dict)
    released: str = ""
    agrees: str = "yes"
