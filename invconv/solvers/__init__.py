"""Triangular convolutions and their inverse: one function each, many methods."""

from invconv.solvers.methods import FORWARD_METHODS, METHODS, known_methods, resolve
from invconv.solvers.solve import solve_triangular_conv2d, triangular_conv2d
from invconv.solvers.verify import InverseError, check_inverse, relative_error

__all__ = [
    "FORWARD_METHODS",
    "METHODS",
    "InverseError",
    "check_inverse",
    "known_methods",
    "relative_error",
    "resolve",
    "solve_triangular_conv2d",
    "triangular_conv2d",
]
