"""Invertible convolutions for normalizing flows behind one interface, one solver and one clock."""

from invconv import flows
from invconv.conv import InvertibleConv, available, build, register
from invconv.layers import FInC, Glow1x1, MaCow, MEWoodbury, Periodic, Woodbury
from invconv.solvers import InverseError, solve_triangular_conv2d, triangular_conv2d

__all__ = [
    "FInC",
    "Glow1x1",
    "InverseError",
    "InvertibleConv",
    "MEWoodbury",
    "MaCow",
    "Periodic",
    "Woodbury",
    "available",
    "build",
    "flows",
    "register",
    "solve_triangular_conv2d",
    "triangular_conv2d",
]
