"""The C++ kernels of `kernels/`, if they were built when the package was installed."""

import importlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from invconv.solvers.kept import Kept
from invconv.solvers.problem import Problem, as_lower_corner


def _why(error: ImportError) -> str:
    """Why there is no extension, and what to do."""
    package = Path(__file__).parents[1]
    with suppress(PackageNotFoundError):
        installed = Path(str(distribution("invconv").locate_file("invconv"))).resolve()
        if installed != package.resolve() and (installed / "__init__.py").exists():
            return (
                f"the folder {package.parent} hides the package that is installed in "
                f"{installed.parent}: run Python in another folder, or install this one with "
                f"pip install -e {package.parent}"
            )
    if built := next(package.glob("solvers/_compiled*.so"), None):
        return f"{built} cannot be loaded ({error}); install again with this Python"
    return (
        f"the C++ extension was not built ({error}); install again where a compiler is found, "
        "g++ 12 or newer, or clang"
    )


_kernels: ModuleType | None
try:
    _kernels = importlib.import_module("invconv.solvers._compiled")
    _reason = ""
except ImportError as error:
    _kernels, _reason = None, _why(error)


forced = {"isa": "", "lanes": ""}
"""What the kernels would choose by themselves: an instruction set, and whether a register holds
"samples", "pixels" or "channels". For tests; $INVCONV_ISA does the first from outside."""


def missing(device: torch.device) -> str:
    """Why the kernels cannot run on ``device``; "" if they can."""
    if _kernels is None:
        return _reason
    return "" if device.type == "cpu" else f"it runs on the CPU, not on {device.type}"


def extension() -> ModuleType | None:
    """The extension module; None where it was not built."""
    return _kernels


def instruction_sets() -> list[str]:
    """The instruction sets of this machine that the kernels were built for, the best first."""
    return [] if _kernels is None else list(_kernels.available_isas())


def instruction_set() -> str | None:
    """The instruction set that runs; None where the kernels were not built."""
    return None if _kernels is None else str(_kernels.default_isa())


def _direction(name: str) -> Callable[..., Tensor]:
    """The kernel of this name; half precision is computed in float32."""
    kernel = getattr(_kernels, name, None)

    def run(
        x: Tensor,
        weight: Tensor,
        problem: Problem,
        out: Tensor | None = None,
        kept: Kept | None = None,
    ) -> Tensor:
        if x.dtype not in (torch.float32, torch.float64):
            result = run(x.float(), weight.float(), problem, None, kept).to(x.dtype)
            return result if out is None else out.copy_(result)
        if out is not None and (_partly_overlap(x, out) or out.is_neg()):
            return out.copy_(run(x, weight, problem, None, kept))
        x, weight = _in_memory(x), _in_memory(weight).contiguous()
        y = torch.empty_like(x, memory_format=torch.contiguous_format) if out is None else out
        assert kernel is not None
        kernel(
            x.data_ptr(),
            x.stride(),
            weight.data_ptr(),
            y.data_ptr(),
            y.stride(),
            x.shape,
            weight.shape,
            problem.anchor,
            problem.codes,
            problem.upper,
            x.element_size(),
            torch.get_num_threads(),
            kept=None if kept is None else kept.once("packed", _packed),
            **forced,
        )
        return y

    return run


def _packed() -> object:
    """What keeps packed taps."""
    assert _kernels is not None
    return _kernels.Packed()


solve = _direction("solve")
convolve = _direction("convolve")


def weight_gradient(x: Tensor, grad_z: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """The gradient of ⟨grad_z, convolve(x, weight)⟩ in weight; half precision as for `solve`."""
    if x.dtype not in (torch.float32, torch.float64):
        return weight_gradient(x.float(), grad_z.float(), weight, problem).to(x.dtype)
    x, grad_z = _in_memory(x), _in_memory(grad_z)
    grad = torch.empty(weight.shape, dtype=x.dtype)
    assert _kernels is not None
    _kernels.weight_gradient(
        x.data_ptr(),
        x.stride(),
        grad_z.data_ptr(),
        grad_z.stride(),
        grad.data_ptr(),
        x.shape,
        weight.shape,
        problem.anchor,
        problem.codes,
        problem.upper,
        x.element_size(),
        torch.get_num_threads(),
        forced["isa"],
    )
    return grad


def _in_memory(x: Tensor) -> Tensor:
    """``x`` with its values in memory: not negated lazily, and not the zeros of forward AD."""
    return torch.zeros(x.shape, dtype=x.dtype) if x._is_zerotensor() else x.resolve_neg()


def _partly_overlap(x: Tensor, out: Tensor) -> bool:
    """Whether writing ``out`` could change what is still to be read; x itself is no such case."""
    if x.data_ptr() == out.data_ptr() and x.stride() == out.stride():
        return False
    return bool(torch._C._overlaps(x, out))


def solve_diagonal_channel(z: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """FInC's algorithm 1: image by image, diagonal by diagonal, channel by channel.

    Float64 on one thread, as the authors' code runs it. Corner anchors only.

    Raises:
        ValueError: for an anchor that is not the last tap.
    """
    return as_lower_corner(partial(_published, "diagonal_channel"), z, weight, problem)


def solve_raster_serial(z: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Emerging's and CInC's loop: pixel by pixel in raster order, channel by channel.

    Float64, with the images of the batch shared among threads, as both releases run it.
    """
    return _published("raster_serial", z, weight, problem)


def _published(name: str, z: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    double, taps = (_in_memory(tensor).double().contiguous() for tensor in (z, weight))
    x = torch.empty_like(double)
    getattr(_kernels, name)(
        double.data_ptr(),
        taps.data_ptr(),
        x.data_ptr(),
        double.shape,
        taps.shape,
        problem.anchor,
        problem.codes,
        problem.upper,
        torch.get_num_threads(),
    )
    return x.to(z.dtype)
