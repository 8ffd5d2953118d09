"""The methods behind `solve_triangular_conv2d`: different code, the same mathematics."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from invconv.solvers.problem import Problem
from invconv.solvers.reference import solve_reference
from invconv.solvers.wavefront import solve_wavefront
from invconv.validation import check_choice

Solve = Callable[[Tensor, Tensor, Problem], Tensor]


@dataclass(frozen=True)
class Method:
    """A way to compute the inverse.

    Attributes:
        solve: (z, weight, problem) -> x, without gradients.
        summary: one line for `python -m invconv doctor`.
    """

    solve: Solve
    summary: str


METHODS: dict[str, Method] = {
    "reference": Method(solve_reference, "plain loops, any dtype and device: the truth"),
    "wavefront": Method(solve_wavefront, "torch only, one diagonal at a time, any device"),
}


def known_methods() -> tuple[str, ...]:
    """The names that ``method`` accepts."""
    return ("auto", *METHODS)


def resolve(method: str, z: Tensor, weight: Tensor) -> str:
    """The name of the method that runs for these tensors; "auto" is never returned.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    check_choice(method, known_methods(), "method")
    return "wavefront" if method == "auto" else method
