"""The CUDA kernels of `kernels/cuda/`, compiled for the exact chip and problem at first use."""

from invconv.solvers.cuda.calls import convolve, solve
from invconv.solvers.cuda.driver import missing, too_large
from invconv.solvers.cuda.published import (
    solve_diagonal_channel,
    solve_diagonal_channel_4,
)

__all__ = [
    "convolve",
    "missing",
    "solve",
    "solve_diagonal_channel",
    "solve_diagonal_channel_4",
    "too_large",
]
