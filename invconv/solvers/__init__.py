"""Triangular convolutions and their inverse: one function each, many methods."""

from invconv.solvers.methods import FORWARD_METHODS, METHODS, known_methods, resolve
from invconv.solvers.solve import solve_triangular_conv2d, triangular_conv2d

__all__ = [
    "FORWARD_METHODS",
    "METHODS",
    "known_methods",
    "resolve",
    "solve_triangular_conv2d",
    "triangular_conv2d",
]
