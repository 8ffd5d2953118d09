"""Both operations on tensors: a plan, then its launches on the current stream."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from invconv.solvers.cuda import driver
from invconv.solvers.cuda.arguments import pack
from invconv.solvers.cuda.forward import plan_convolve
from invconv.solvers.cuda.plan import (
    ELEMENTS,
    UNFORCED,
    Chip,
    Forced,
    Plan,
    SizedProblem,
    sized_problem,
)
from invconv.solvers.cuda.tiles import plan_solve
from invconv.solvers.problem import Problem

forced = UNFORCED
"""What plans would choose by themselves; replaced in tests and measurements."""


def solve(z: Tensor, weight: Tensor, problem: Problem, out: Tensor | None = None) -> Tensor:
    """The inverse: one launch, or one per anti-diagonal of tiles.

    bfloat16 is read and written as such and computed in float32; where tiles would read their
    neighbors' rounded values again, and for float16, the call runs in float32.
    """
    return _call(plan_solve, z, weight, problem, out)


def convolve(x: Tensor, weight: Tensor, problem: Problem, out: Tensor | None = None) -> Tensor:
    """The forward: one launch."""
    return _call(plan_convolve, x, weight, problem, out)


def _call(
    make_plan: Callable[[SizedProblem, Chip, Forced], Plan],
    x: Tensor,
    weight: Tensor,
    problem: Problem,
    out: Tensor | None,
) -> Tensor:
    if x.dtype not in ELEMENTS:
        result = _call(make_plan, x.float(), weight.float(), problem, None).to(x.dtype)
        return result if out is None else out.copy_(result)
    if out is not None and (not out.is_contiguous() or out.is_neg()):
        return out.copy_(_call(make_plan, x, weight, problem, None))
    x, weight = in_memory(x), in_memory(weight)
    if not x.numel():
        return torch.empty_like(x) if out is None else out
    shape = sized_problem(tuple(x.shape), tuple(weight.shape), problem, x.dtype)
    plan = make_plan(shape, driver.chip(index_of(x)), forced)
    if x.dtype == torch.bfloat16 and plan.rereads:
        result = _call(make_plan, x.float(), weight.float(), problem, None).to(x.dtype)
        return result if out is None else out.copy_(result)
    if out is not None and not _may_write(x, out, plan):
        x = x.clone()
    y = torch.empty_like(x) if out is None else out
    execute(plan, x, weight, y, problem)
    return y


def execute(plan: Plan, x: Tensor, weight: Tensor, y: Tensor, problem: Problem) -> None:
    """Enqueues a plan's launches for contiguous tensors of one device."""
    index = index_of(x)
    with guard(x.device):
        folded = None
        if plan.folded:
            double = x.dtype == torch.float64
            dtype = torch.float64 if double else torch.float32
            folded = torch.empty(plan.folded, dtype=dtype, device=x.device)
        addresses = (
            x.data_ptr(),
            weight.data_ptr(),
            y.data_ptr(),
            0 if folded is None else folded.data_ptr(),
        )
        for one in plan.launches:
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


def in_memory(x: Tensor) -> Tensor:
    """``x`` contiguous, with its values in memory: not negated lazily, no zeros of forward AD."""
    if x._is_zerotensor():
        return torch.zeros(x.shape, dtype=x.dtype, device=x.device)
    return x.resolve_neg().contiguous()


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
