"""Both operations on tensors: a plan, then its launches on the current stream."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from invconv.solvers.cuda import driver
from invconv.solvers.cuda.arguments import pack
from invconv.solvers.cuda.forward import plan_convolve
from invconv.solvers.cuda.inverse import plan_solve
from invconv.solvers.cuda.plan import (
    ELEMENTS,
    GROUPS_PER_LAUNCH,
    UNFORCED,
    Chip,
    Forced,
    Plan,
    SizedProblem,
    sized_problem,
)
from invconv.solvers.kept import Kept
from invconv.solvers.problem import Problem

Folds = dict[tuple[int, int, torch.dtype, int], Tensor]
"""Device, stream, type, and outputs of a thread → the workspace of a plan."""

forced = UNFORCED
"""What plans would choose by themselves; replaced in tests and measurements."""


def solve(
    z: Tensor,
    weight: Tensor,
    problem: Problem,
    out: Tensor | None = None,
    kept: Kept | None = None,
) -> Tensor:
    """The inverse in a launch or a few: see `invconv.solvers.cuda.inverse`.

    bfloat16 is read and written as such and computed in float32; where tiles or bands
    would read rounded values again, and for float16, the call runs in float32. From the second
    call with ``kept`` on, the folded taps are kept, but not in the capture of a CUDA graph, whose
    replays may find another weight.
    """
    return _call(plan_solve, z, weight, problem, out, kept)


def convolve(
    x: Tensor,
    weight: Tensor,
    problem: Problem,
    out: Tensor | None = None,
    kept: Kept | None = None,
) -> Tensor:
    """The forward: one launch; nothing is kept."""
    return _call(plan_convolve, x, weight, problem, out, None)


def _call(
    make_plan: Callable[[SizedProblem, Chip, Forced], Plan],
    x: Tensor,
    weight: Tensor,
    problem: Problem,
    out: Tensor | None,
    kept: Kept | None,
) -> Tensor:
    if x.dtype not in ELEMENTS:
        result = _call(make_plan, x.float(), weight.float(), problem, None, kept).to(x.dtype)
        return result if out is None else out.copy_(result)
    if out is not None and (not out.is_contiguous() or out.is_neg()):
        return out.copy_(_call(make_plan, x, weight, problem, None, kept))
    x, weight = in_memory(x), in_memory(weight)
    if not x.numel():
        return torch.empty_like(x) if out is None else out
    aligned = not (x.data_ptr() | (0 if out is None else out.data_ptr())) % 16
    shape = sized_problem(tuple(x.shape), tuple(weight.shape), problem, x.dtype, aligned)
    chip = driver.chip(index_of(x))
    if kept is not None and (is_capturing(x) or shape.groups > GROUPS_PER_LAUNCH):
        kept = None
    folds: Folds | None = None if kept is None else kept.once("folds", dict)
    plan = make_plan(shape, chip, forced if folds is None else replace(forced, folded=True))
    if x.dtype == torch.bfloat16 and plan.rereads:
        result = _call(make_plan, x.float(), weight.float(), problem, None, kept).to(x.dtype)
        return result if out is None else out.copy_(result)
    if out is not None and not _may_write(x, out, plan):
        x = x.clone()
    y = torch.empty_like(x) if out is None else out
    execute(plan, x, weight, y, problem, folds)
    return y


def execute(
    plan: Plan,
    x: Tensor,
    weight: Tensor,
    y: Tensor,
    problem: Problem,
    folds: Folds | None = None,
) -> None:
    """Enqueues a plan's launches for contiguous tensors of one device.

    Args:
        folds: what was folded before of this weight, which is not folded again, or None.
    """
    index = index_of(x)
    with guard(x.device):
        folded, place, known = None, None, False
        if plan.folded:
            double = x.dtype == torch.float64
            dtype = torch.float64 if double else torch.float32
            if folds is not None:
                # a stream sees what it has enqueued itself, and outputs decide the layout
                place = index, driver.stream(index), dtype, dict(plan.options)["OUTPUTS"]
                folded = folds.get(place)
            known = folded is not None
            if folded is None:
                folded = torch.empty(plan.folded, dtype=dtype, device=x.device)
        addresses = (
            x.data_ptr(),
            weight.data_ptr(),
            y.data_ptr(),
            0 if folded is None else folded.data_ptr(),
        )
        for one in plan.launches:
            if known and one.kernel == "fold":
                continue
            driver.launch(
                index,
                plan.source,
                plan.options,
                one.kernel,
                one.blocks,
                one.threads,
                one.shared,
                pack(addresses, one.fields, problem.corners),
            )
        if folds is not None and place is not None and folded is not None:
            folds[place] = folded


def in_memory(x: Tensor) -> Tensor:
    """``x`` contiguous, with its values in memory: not negated lazily, no zeros of forward AD."""
    if x._is_zerotensor():
        return torch.zeros(x.shape, dtype=x.dtype, device=x.device)
    return x.resolve_neg().contiguous()


def is_capturing(x: Tensor) -> bool:
    """Whether what is called with ``x`` now goes into a CUDA graph."""
    return x.is_cuda and torch.cuda.is_current_stream_capturing()


def index_of(x: Tensor) -> int:
    """The index of the device of ``x``."""
    return x.device.index or 0


def guard(device: torch.device) -> AbstractContextManager[None]:
    """``device`` as the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _may_write(x: Tensor, out: Tensor, plan: Plan) -> bool:
    """Whether writing ``out`` cannot change what is still to be read."""
    same = x.data_ptr() == out.data_ptr()
    return plan.in_place if same else not torch._C._overlaps(x, out)
