"""FInC's algorithms 1 and 2 on a GPU: a launch and a wait per diagonal and channel."""

import ctypes
from array import array
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from invconv.solvers import compiled
from invconv.solvers.cuda import driver
from invconv.solvers.cuda.arguments import Arguments, pack
from invconv.solvers.cuda.calls import guard, in_memory, index_of, is_capturing
from invconv.solvers.cuda.plan import (
    ELEMENTS,
    Options,
    group_slices,
    launch_fields,
    sized_problem,
)
from invconv.solvers.problem import Problem, as_lower_corner

SOURCE = KERNEL = "diagonal_channel"
THREADS = 256


def solve_diagonal_channel(z: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """FInC's algorithm 1: one corner after the other, C'·(H + W − 1) launches each.

    One thread per pixel of the diagonal and sample, in the dtype of z, any batch. The device is
    waited for after each launch, as published; the loop is compiled.

    Raises:
        ValueError: for an anchor that is not the last tap.
        RuntimeError: inside a CUDA graph's capture, which cannot wait.
    """
    return as_lower_corner(partial(_solve, four=False), z, weight, problem)


def solve_diagonal_channel_4(z: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """FInC's algorithm 2: all corners in each launch, C'·(H + W − 1) launches in all.

    Otherwise as `solve_diagonal_channel`.
    """
    return as_lower_corner(partial(_solve, four=True), z, weight, problem)


def launches(shape: Sequence[int], weight_shape: Sequence[int], four: bool) -> int:
    """How many launches a call takes, each followed by a wait."""
    per_group = weight_shape[1]
    steps = per_group * (shape[2] + shape[3] - 1)
    return steps if four else steps * (weight_shape[0] // per_group)


def _solve(z: Tensor, weight: Tensor, problem: Problem, four: bool) -> Tensor:
    if z.dtype not in ELEMENTS or z.dtype == torch.bfloat16:
        return _solve(z.float(), weight.float(), problem, four).to(z.dtype)
    if is_capturing(z):
        raise RuntimeError(
            "diagonal_channel waits for the device after every launch, which a CUDA graph cannot "
            "capture; use compiled"
        )
    z, weight = in_memory(z), in_memory(weight)
    x = torch.empty_like(z)
    if not z.numel():
        return x
    shape = sized_problem(tuple(z.shape), tuple(weight.shape), problem, z.dtype)
    each = [(group, 1) for group in range(shape.groups)]
    together = list(group_slices(shape.groups)) if four else each
    addresses = (z.data_ptr(), weight.data_ptr(), x.data_ptr(), 0)
    with guard(z.device):
        for first, count in together:
            fields = launch_fields(shape, first, count, (0, 0), 0)
            run(
                index_of(z),
                shape.options,
                pack(addresses, fields, problem.corners),
                weight.shape[1],
            )
    return x


def run(index: int, options: Options, arguments: Arguments, channels: int) -> None:
    """The loop over diagonals and channels."""
    steps = []
    for diagonal in range(arguments.height + arguments.width - 1):
        first = max(0, diagonal - arguments.width + 1)
        pixels = min(diagonal, arguments.height - 1) - first + 1
        blocks = -(-arguments.batch * arguments.groups * pixels // THREADS)
        steps += [(diagonal, channel, blocks) for channel in range(channels)]
    launch_and_wait(index, options, KERNEL, steps, arguments)


def launch_and_wait(
    index: int,
    options: Options,
    kernel: str,
    steps: Sequence[tuple[int, int, int]],
    arguments: Arguments,
    in_python: bool = False,
) -> None:
    """For every (diagonal, channel, blocks) one launch and one wait for the device.

    In C++ where the extension was built, unless ``in_python``: a Python loop costs several
    microseconds more per launch, which would be counted as the algorithm's.
    """
    kernels = None if in_python else compiled.extension()
    if kernels is None:
        for arguments.diagonal, arguments.channel, blocks in steps:
            driver.launch(index, SOURCE, options, kernel, blocks, THREADS, 0, arguments)
            driver.synchronize()
        return
    start = ctypes.addressof(arguments)
    kernels.launch_and_wait(
        int(driver.function(index, SOURCE, options, kernel)),
        driver.stream(index),
        start,
        start + Arguments.diagonal.offset,
        start + Arguments.channel.offset,
        array("i", [number for step in steps for number in step]).tobytes(),
        THREADS,
        driver.LIBRARY,
    )
