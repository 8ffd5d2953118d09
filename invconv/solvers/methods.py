"""The methods behind both directions: different code, the same mathematics."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from invconv.modes import is_autocast, no_autocast
from invconv.solvers import compiled, cuda
from invconv.solvers.convolution import convolve_torch
from invconv.solvers.jacobi import solve_jacobi
from invconv.solvers.kept import Kept
from invconv.solvers.problem import Problem
from invconv.solvers.reference import solve_reference
from invconv.solvers.wavefront import solve_wavefront
from invconv.validation import check_choice

Compute = Callable[[Tensor, Tensor, Problem, Tensor | None], Tensor]


@dataclass(frozen=True)
class Code:
    """What a ``method`` of the solver runs: one way to compute one direction.

    Attributes:
        run: (input, weight, problem, out) -> output, without gradients; ``out`` is None or a
            tensor that receives the output and may be the input.
        summary: one line for `python -m invconv doctor`.
        missing: why it cannot run on the given device, or "" if it can.
        on_gpu: what runs on a GPU, if that is another one.
        keeps: whether both take ``kept``, too, in which they may keep what they make of a weight.
    """

    run: Compute
    summary: str
    missing: Callable[[torch.device], str] = lambda device: ""
    on_gpu: Compute | None = None
    keeps: bool = False


def _into(run: Callable[[Tensor, Tensor, Problem], Tensor]) -> Compute:
    def with_out(x: Tensor, weight: Tensor, problem: Problem, out: Tensor | None) -> Tensor:
        result = run(x, weight, problem)
        return result if out is None else out.copy_(result)

    return with_out


def _missing(device: torch.device) -> str:
    return cuda.missing(device.index or 0) if device.type == "cuda" else compiled.missing(device)


def _missing_4(device: torch.device) -> str:
    if device.type == "cuda":
        return cuda.missing(device.index or 0)
    return "needs a GPU; on a CPU use diagonal_channel"


METHODS: dict[str, Code] = {
    "reference": Code(_into(solve_reference), "plain loops, any dtype and device: the truth"),
    "wavefront": Code(_into(solve_wavefront), "torch only, one diagonal at a time, any device"),
    "compiled": Code(
        compiled.solve,
        "C++ on the CPU, a batch in the lanes of a register; CUDA on a GPU, one launch",
        _missing,
        cuda.solve,
        keeps=True,
    ),
    "jacobi": Code(
        _into(solve_jacobi), "torch's convolutions alone, repeated until nothing changes"
    ),
    "diagonal_channel": Code(
        _into(compiled.solve_diagonal_channel),
        "FInC's algorithm 1: float64 on one thread of a CPU, a launch and a wait per "
        "corner, diagonal and channel on a GPU",
        _missing,
        _into(cuda.solve_diagonal_channel),
    ),
    "diagonal_channel_4": Code(
        _into(cuda.solve_diagonal_channel_4),
        "FInC's algorithm 2: a launch and a wait per diagonal and channel, GPU only",
        _missing_4,
    ),
    "raster_serial": Code(
        _into(compiled.solve_raster_serial),
        "the loop of Emerging's and CInC's code, float64, one image per thread of the CPU",
        compiled.missing,
    ),
}
"""The ways to invert."""

FORWARD_METHODS: dict[str, Code] = {
    "torch": Code(_into(convolve_torch), "one F.conv2d per corner, any device"),
    "compiled": Code(
        compiled.convolve,
        "C++ on the CPU, CUDA on a GPU, all corners at once",
        _missing,
        cuda.convolve,
        keeps=True,
    ),
}
"""The ways to convolve."""


def known_methods(inverse: bool = True) -> tuple[str, ...]:
    """The names that ``method`` accepts."""
    return ("auto", *(METHODS if inverse else FORWARD_METHODS))


LARGEST_CUDA_FORWARD = 12
"""Channels per group up to which our kernel convolves on a GPU under "auto": of larger groups
torch's products are expected to be faster. Rows of a GPU will say."""


def resolve(
    method: str, device: torch.device, inverse: bool = True, weight: Tensor | None = None
) -> str:
    """The name of the method that runs on ``device``; "auto" is never returned.

    "auto" is "compiled" where it can run, on a CPU or a GPU; elsewhere, and where something is
    missing, which is said once, it is "wavefront" or "torch". On a GPU it is so, too, for groups
    that are too large for our kernels: see `LARGEST_CUDA_FORWARD`, and `cuda.too_large`.

    Args:
        method: a name of `known_methods`.
        device: of the images.
        inverse: which direction.
        weight: (C, C / groups, kh, kw), where it is known.

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
    reason = _missing(device)
    if not reason and device.type == "cuda" and weight is not None:
        if not inverse and weight.shape[1] > LARGEST_CUDA_FORWARD:
            return "torch"
        reason = cuda.too_large(weight, device.index or 0)
    if not reason:
        return "compiled"
    if device.type in ("cpu", "cuda"):
        _say_once(reason)
    return "wavefront" if inverse else "torch"


@lru_cache(maxsize=16)
def _say_once(reason: str) -> None:
    warnings.warn(f"invconv runs in plain torch, several times slower: {reason}", stacklevel=2)


def code_of(method: str, x: Tensor, inverse: bool, kept: Kept | None = None) -> Compute:
    """What a resolved method runs where ``x`` is, with what it may keep of the weight."""
    found = (METHODS if inverse else FORWARD_METHODS)[method]
    run = found.on_gpu if x.is_cuda and found.on_gpu is not None else found.run
    if kept is None or not found.keeps:
        return run
    keeping: Callable[..., Tensor] = run
    return partial(keeping, kept=kept)


def run_method(
    x: Tensor,
    weight: Tensor,
    problem: Problem,
    inverse: bool,
    method: str,
    out: Tensor | None = None,
) -> Tensor:
    """Compute a resolved method, outside autocast and without gradients."""
    run = code_of(method, x, inverse)
    if not is_autocast(x.device):
        return run(x, weight, problem, out)
    with no_autocast(x.device):
        return run(x, weight, problem, out)
