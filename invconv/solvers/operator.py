"""The registered operator: fake, autograd and vmap formulas around the methods."""

from typing import Any

import torch
from torch import Tensor
from torch.library import Library, register_autograd, register_fake, register_vmap

from invconv.solvers.convolution import weight_gradient
from invconv.solvers.methods import METHODS
from invconv.solvers.problem import Problem, transpose_channels

_ARGUMENTS = "Tensor z, Tensor weight, int[] anchor, int[] corners, bool upper, str method"
_NAME = "invconv::solve_triangular_conv2d"
_library = Library("invconv", "DEF")
_library.define(f"solve_triangular_conv2d({_ARGUMENTS}) -> Tensor")
_library.define(f"solve_triangular_conv2d_out({_ARGUMENTS}, Tensor(a!) out) -> ()")


def _solve(
    z: Tensor, weight: Tensor, anchor: list[int], corners: list[int], upper: bool, method: str
) -> Tensor:
    problem = Problem((anchor[0], anchor[1]), tuple(corners), upper)
    with torch.autocast(z.device.type, enabled=False):
        return METHODS[method].solve(z, weight, problem)


def _solve_out(
    z: Tensor,
    weight: Tensor,
    anchor: list[int],
    corners: list[int],
    upper: bool,
    method: str,
    out: Tensor,
) -> None:
    out.copy_(_solve(z, weight, anchor, corners, upper, method))


_library.impl("solve_triangular_conv2d", _solve, "CompositeExplicitAutograd")
_library.impl("solve_triangular_conv2d_out", _solve_out, "CompositeExplicitAutograd")


@register_fake(_NAME, lib=_library)
def _fake(z: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(z, memory_format=torch.contiguous_format)


@register_fake(f"{_NAME}_out", lib=_library)
def _fake_out(*_: Any) -> None:
    return None


class _Solve(torch.autograd.Function):
    """The autograd and vmap formulas, in the form that `torch.func` can compose.

    The operator carries the same formulas for those who call it directly (`opcheck`, exported
    graphs), but autograd registered on an operator does not work under `torch.func`.
    """

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return solve_op(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, weight, ctx.anchor, ctx.corners, ctx.upper, ctx.method = inputs
        ctx.save_for_backward(weight, output)

    @staticmethod
    def backward(ctx: Any, grad_x: Tensor) -> tuple[Tensor | None, ...]:
        weight, x = ctx.saved_tensors
        problem = Problem((ctx.anchor[0], ctx.anchor[1]), tuple(ctx.corners), ctx.upper)
        adjoint = solve(
            grad_x,
            transpose_channels(weight, problem.groups),
            ctx.anchor,
            list(problem.opposite),
            not ctx.upper,
            ctx.method,
        )
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = -weight_gradient(x, adjoint, weight, problem)
        return adjoint, grad_weight, None, None, None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        z: Tensor,
        weight: Tensor,
        anchor: list[int],
        corners: list[int],
        upper: bool,
        method: str,
    ) -> tuple[Tensor, int]:
        if in_dims[1] is None:
            z = z.movedim(in_dims[0] or 0, 0)
            x = solve(z.flatten(0, 1), weight, anchor, corners, upper, method)
            return x.unflatten(0, z.shape[:2]), 0
        size = info.batch_size
        if in_dims[0] is None:
            z = z.unsqueeze(1).expand(-1, size, -1, -1, -1)
        else:
            z = z.movedim(in_dims[0], 1)
        weight = weight.movedim(in_dims[1], 0)
        x = solve(z.flatten(1, 2), weight.flatten(0, 1), anchor, corners * size, upper, method)
        return x.unflatten(1, z.shape[1:3]), 1


register_autograd(_NAME, _Solve.backward, setup_context=_Solve.setup_context, lib=_library)
register_vmap(_NAME, _Solve.vmap, lib=_library)


def solve(
    z: Tensor, weight: Tensor, anchor: list[int], corners: list[int], upper: bool, method: str
) -> Tensor:
    """The inverse, differentiable in z and weight, of arguments that were checked before."""
    if torch.compiler.is_compiling():
        return solve_op(z, weight, anchor, corners, upper, method)
    return _Solve.apply(z, weight, anchor, corners, upper, method)


solve_op = torch.ops.invconv.solve_triangular_conv2d.default
solve_out_op = torch.ops.invconv.solve_triangular_conv2d_out.default
