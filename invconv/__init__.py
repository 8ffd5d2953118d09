"""Invertible convolutions for normalizing flows behind one interface, one solver and one clock."""

from typing import TYPE_CHECKING

from invconv import flows
from invconv.conv import InvertibleConv, available, build, register
from invconv.layers import (
    CInC,
    Emerging,
    FInC,
    Glow1x1,
    InverseFlow,
    MaCow,
    MEWoodbury,
    Periodic,
    TriangularConv,
    Woodbury,
)
from invconv.numerical import NumericalError
from invconv.solvers import solve_triangular_conv2d, triangular_conv2d

if TYPE_CHECKING:
    from invconv.tables.table import results

__all__ = [
    "CInC",
    "Emerging",
    "FInC",
    "Glow1x1",
    "InverseFlow",
    "InvertibleConv",
    "MEWoodbury",
    "MaCow",
    "NumericalError",
    "Periodic",
    "TriangularConv",
    "Woodbury",
    "available",
    "build",
    "flows",
    "register",
    "results",
    "solve_triangular_conv2d",
    "triangular_conv2d",
]


def __getattr__(name: str) -> object:
    """`results`, which needs pandas and all tables, is imported when it is first asked for."""
    if name == "results":
        from invconv.tables.table import results

        return results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
