"""The methods behind both directions: different code, the same mathematics."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from invconv.solvers import compiled
from invconv.solvers.convolution import convolve_torch
from invconv.solvers.problem import Problem
from invconv.solvers.reference import solve_reference
from invconv.solvers.wavefront import solve_wavefront
from invconv.validation import check_choice

Run = Callable[[Tensor, Tensor, Problem, Tensor | None], Tensor]


@dataclass(frozen=True)
class Method:
    """One way to compute one direction.

    Attributes:
        run: (input, weight, problem, out) -> output, without gradients; ``out`` is None or a
            tensor that receives the output and may be the input.
        summary: one line for `python -m invconv doctor`.
        missing: why it cannot run on the given device, or "" if it can.
    """

    run: Run
    summary: str
    missing: Callable[[torch.device], str] = lambda device: ""


def _into(run: Callable[[Tensor, Tensor, Problem], Tensor]) -> Run:
    def with_out(x: Tensor, weight: Tensor, problem: Problem, out: Tensor | None) -> Tensor:
        result = run(x, weight, problem)
        return result if out is None else out.copy_(result)

    return with_out


METHODS: dict[str, Method] = {
    "reference": Method(_into(solve_reference), "plain loops, any dtype and device: the truth"),
    "wavefront": Method(_into(solve_wavefront), "torch only, one diagonal at a time, any device"),
    "compiled": Method(
        compiled.solve, "C++ on the CPU, a batch in the lanes of a register", compiled.missing
    ),
    "diagonal_channel": Method(
        _into(compiled.solve_diagonal_channel),
        "FInC's published algorithm 1, float64 on one thread of the CPU",
        compiled.missing,
    ),
    "raster_serial": Method(
        _into(compiled.solve_raster_serial),
        "Emerging's and CInC's published loop, float64, one image per thread of the CPU",
        compiled.missing,
    ),
}
"""The ways to invert."""

FORWARD_METHODS: dict[str, Method] = {
    "torch": Method(_into(convolve_torch), "one F.conv2d per corner, any device"),
    "compiled": Method(compiled.convolve, "C++ on the CPU, all corners at once", compiled.missing),
}
"""The ways to convolve."""


def known_methods(inverse: bool = True) -> tuple[str, ...]:
    """The names that ``method`` accepts."""
    return ("auto", *(METHODS if inverse else FORWARD_METHODS))


def resolve(method: str, device: torch.device, inverse: bool = True) -> str:
    """The name of the method that runs on ``device``; "auto" is never returned.

    "auto" is "compiled" on a CPU and "wavefront" or "torch" elsewhere, or where the extension
    was not built, which is said once.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
        RuntimeError: for a method that was asked for by name and is not available.
    """
    methods = METHODS if inverse else FORWARD_METHODS
    if method != "auto":
        check_choice(method, known_methods(inverse), "method")
        reason = methods[method].missing(device)
        if reason:
            raise RuntimeError(f"method {method!r} is not available: {reason}")
        return method
    if not compiled.missing(device):
        return "compiled"
    if device.type == "cpu":
        _say_once(compiled.missing(device))
    return "wavefront" if inverse else "torch"


@lru_cache(maxsize=1)
def _say_once(reason: str) -> None:
    warnings.warn(f"invconv runs in plain torch, several times slower: {reason}", stacklevel=2)


def run_method(
    x: Tensor,
    weight: Tensor,
    problem: Problem,
    inverse: bool,
    method: str,
    out: Tensor | None = None,
) -> Tensor:
    """Runs a resolved method, outside autocast and without gradients."""
    run = (METHODS if inverse else FORWARD_METHODS)[method].run
    if not torch.is_autocast_enabled(x.device.type):
        return run(x, weight, problem, out)
    with torch.autocast(x.device.type, enabled=False):
        return run(x, weight, problem, out)
