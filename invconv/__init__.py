"""Invertible convolutions for normalizing flows behind one interface, one solver and one clock."""

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
    "solve_triangular_conv2d",
    "triangular_conv2d",
]
