"""The registered operator: fake, autograd and vmap formulas around the methods.

One operator is both directions: with ``inverse`` it solves, without it convolves. The adjoint of
either is the same direction from the opposite corners, with the weight transposed in channels
and the other triangle, so that they share every formula but the weight's.
"""

from typing import Any

import torch
from torch import Tensor
from torch.library import Library, register_autograd, register_fake, register_vmap

from invconv.modes import is_plain, is_recording
from invconv.solvers import compiled, convolution
from invconv.solvers.methods import resolve, run_method
from invconv.solvers.problem import Problem, transpose_channels

_ARGUMENTS = (
    "Tensor x, Tensor weight, int[] anchor, int[] corners, bool upper, bool inverse, str method"
)
_NAME = "invconv::triangular_conv2d"
LARGEST_COMPILED_GROUP = 12
"""Up to this many channels of a group the kernels are the faster way to a weight's gradient."""

_library = Library("invconv", "DEF")
_library.define(f"triangular_conv2d({_ARGUMENTS}) -> Tensor")
_library.define(f"triangular_conv2d_out({_ARGUMENTS}, Tensor(a!) out) -> ()")


def _run(
    x: Tensor,
    weight: Tensor,
    anchor: list[int],
    corners: list[int],
    upper: bool,
    inverse: bool,
    method: str,
) -> Tensor:
    problem = Problem((anchor[0], anchor[1]), tuple(corners), upper)
    return run_method(x, weight, problem, inverse, method)


def _run_out(
    x: Tensor,
    weight: Tensor,
    anchor: list[int],
    corners: list[int],
    upper: bool,
    inverse: bool,
    method: str,
    out: Tensor,
) -> None:
    problem = Problem((anchor[0], anchor[1]), tuple(corners), upper)
    run_method(x, weight, problem, inverse, method, out)


_library.impl("triangular_conv2d", _run, "CompositeExplicitAutograd")
_library.impl("triangular_conv2d_out", _run_out, "CompositeExplicitAutograd")


@register_fake(_NAME, lib=_library)
def _fake(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@register_fake(f"{_NAME}_out", lib=_library)
def _fake_out(*_: Any) -> None:
    return None


class _Triangular(torch.autograd.Function):
    """The autograd and vmap formulas, in the form that `torch.func` can compose.

    The operator carries the same formulas for those who call it directly (`opcheck`, exported
    graphs), but autograd registered on an operator does not work under `torch.func`.
    """

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return triangular_op(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, ctx.anchor, ctx.corners, ctx.upper, ctx.inverse, ctx.method = inputs
        ctx.save_for_backward(output if ctx.inverse else x, weight)
        ctx.save_for_forward(output if ctx.inverse else x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch._C._functorch.is_legacy_batchedtensor(grad):
            raise NotImplementedError(
                "triangular convolutions have no batched gradients (is_grads_batched=True, "
                "torch.autograd.functional with vectorize=True): use torch.func.jacrev, or "
                "torch.func.vmap of torch.func.vjp"
            )
        x, weight = ctx.saved_tensors
        problem = Problem((ctx.anchor[0], ctx.anchor[1]), tuple(ctx.corners), ctx.upper)
        adjoint = None
        if ctx.inverse or ctx.needs_input_grad[0]:
            transposed = transpose_channels(weight, problem.groups)
            corners, upper = list(problem.opposite), not ctx.upper
            apply = triangular if needs_formulas(grad, transposed) else _run
            adjoint = apply(grad, transposed, ctx.anchor, corners, upper, ctx.inverse, ctx.method)
        grad_weight = None
        if ctx.needs_input_grad[1]:
            if ctx.inverse and adjoint is not None:
                grad_weight = -_weight_gradient(x, adjoint, weight, problem)
            else:
                grad_weight = _weight_gradient(x, grad, weight, problem)
        return adjoint, grad_weight, None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, x_tangent: Tensor | None, weight_tangent: Tensor | None, *_: Any) -> Tensor:
        """From z = conv(x, w): dz = conv(dx, w) + conv(x, dw), solved for dx where inverse."""
        x, weight = ctx.saved_tensors
        geometry = (ctx.anchor, ctx.corners, ctx.upper)
        tangent = torch.zeros_like(x) if x_tangent is None else x_tangent
        convolve = resolve("auto", x.device, False, weight)
        if weight_tangent is not None:
            by_weight = triangular(x, weight_tangent, *geometry, False, convolve)
            if not ctx.inverse:
                return triangular(tangent, weight, *geometry, False, ctx.method) + by_weight
            tangent = tangent - by_weight
        return triangular(tangent, weight, *geometry, ctx.inverse, ctx.method)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        weight: Tensor,
        anchor: list[int],
        corners: list[int],
        *rest: Any,
    ) -> tuple[Tensor, int]:
        if in_dims[1] is None:
            x = x.movedim(in_dims[0] or 0, 0)
            y = triangular(x.flatten(0, 1), weight, anchor, corners, *rest)
            return y.unflatten(0, x.shape[:2]), 0
        size = info.batch_size
        if in_dims[0] is None:
            x = x.unsqueeze(1).expand(-1, size, -1, -1, -1)
        else:
            x = x.movedim(in_dims[0], 1)
        weight = weight.movedim(in_dims[1], 0)
        y = triangular(x.flatten(1, 2), weight.flatten(0, 1), anchor, corners * size, *rest)
        return y.unflatten(1, x.shape[1:3]), 1


register_autograd(
    _NAME, _Triangular.backward, setup_context=_Triangular.setup_context, lib=_library
)
register_vmap(_NAME, _Triangular.vmap, lib=_library)


def triangular(
    x: Tensor,
    weight: Tensor,
    anchor: list[int],
    corners: list[int],
    upper: bool,
    inverse: bool,
    method: str,
) -> Tensor:
    """Either direction, differentiable in both tensors, of arguments that were checked before."""
    if is_recording():
        return triangular_op(x, weight, anchor, corners, upper, inverse, method)
    return _Triangular.apply(x, weight, anchor, corners, upper, inverse, method)


def _weight_gradient(x: Tensor, grad: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """By the kernels where that is faster and nothing has to be differentiated or traced."""
    if (
        weight.shape[1] > LARGEST_COMPILED_GROUP
        or needs_formulas(x, grad)
        or compiled.missing(x.device)
    ):
        return convolution.weight_gradient(x, grad, weight, problem)
    return compiled.weight_gradient(x, grad, weight, problem)


def needs_formulas(x: Tensor, weight: Tensor) -> bool:
    """Whether the call must go through the operator: for gradients, tracing or a transform.

    A plain call spares the operator's overhead, which is that of a small solve.
    """
    return (
        (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        or type(x) is not Tensor
        or not is_plain()
    )


triangular_op = torch.ops.invconv.triangular_conv2d.default
triangular_out_op = torch.ops.invconv.triangular_conv2d_out.default
