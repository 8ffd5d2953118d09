"""What a layer stores and computes, counted from the module itself."""

import copy
import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import cast

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import flop_registry

from invconv.bijection import Bijection
from invconv.cache import held
from invconv.conv import Shape
from invconv.flows import LevelFlow

_MOVES = """
_conj _linalg_check_errors _to_copy _unsafe_view alias arange as_strided bool cat clone
constant_pad_nd copy_ detach diag_embed diagonal empty empty_like expand eye fill_ flip full
full_like gather getitem index index_put_ lift_fresh_copy new_empty new_full new_ones new_zeros
ones ones_like permute repeat roll scalar_tensor select select_scatter slice slice_scatter split
split_with_sizes squeeze stack t transpose tril triu unbind unfold unsqueeze view
view_as_complex view_as_real where zero_ zeros zeros_like
"""
MOVES = frozenset(_MOVES.split())
"""Operators that move, select or look at numbers and compute none."""
REDUCTIONS = {"amax", "amin", "cumsum", "linalg_vector_norm", "max", "mean", "min", "prod", "sum"}
REDUCTIONS |= {"var", "var_mean"}
"""Operators that touch each input once."""
UNTAGGED = {"log_sigmoid_forward", "polar"}
"""Elementwise operators that torch does not tag as such."""

MATRICES: dict[str, Callable[[int, int], float]] = {
    "_linalg_solve_ex": lambda n, m: n**3 / 3 + n * n * m,
    "_linalg_slogdet": lambda n, m: n**3 / 3,
    "linalg_inv_ex": lambda n, m: n**3,
    "linalg_lu": lambda n, m: n**3 / 3,
    "linalg_lu_factor_ex": lambda n, m: n**3 / 3,
    "linalg_lu_solve": lambda n, m: n * n * m,
    "linalg_solve_triangular": lambda n, m: n * n * m / 2,
}
"""Multiply-adds for one n×n matrix and m right-hand sides."""


def count_parameters(layer: Bijection, shape: Shape) -> tuple[int, int]:
    """The parameters that ``layer`` stores, and those on which z or log_det really depend.

    The second is counted by gradients: an entry that is masked away has none, and neither has a
    tap that reaches beyond the probing image of ``shape``, (C, H, W).
    """
    probe = copy.deepcopy(layer).cpu().double().train().requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in probe.parameters():
            noise = torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator)
            parameter.add_(0.01 * noise)
    x = torch.randn(2, *shape, dtype=torch.float64, generator=generator)
    with torch.enable_grad():
        z, log_det = probe(x)
        loss = (z * torch.randn(z.shape, generator=generator)).sum() + log_det.sum()
        loss.backward()
    stored = sum(parameter.numel() for parameter in probe.parameters())
    gradients = [p.grad for p in probe.parameters() if p.grad is not None]
    return stored, sum(int(torch.count_nonzero(grad)) for grad in gradients)


def count_flow_parameters(flow: LevelFlow, images: Tensor) -> tuple[int, int]:
    """The parameters that ``flow`` stores, and those that `count_parameters` of its convolutions
    does not find masked away; for one pass it takes ``images`` (B, C, H, W), integers.
    """
    shapes: dict[Bijection, Shape] = {}

    def see(module: Bijection, arguments: tuple[Tensor]) -> None:
        channels, height, width = arguments[0].shape[1:]
        shapes.setdefault(module, (channels, height, width))

    with ExitStack() as hooks, torch.no_grad():
        for conv in convolutions(flow):
            hooks.enter_context(conv.register_forward_pre_hook(see))
        flow.log_prob(images)
    alike = {(repr(conv), shape): conv for conv, shape in reversed(shapes.items())}
    counts = {key: count_parameters(conv, key[1]) for key, conv in alike.items()}
    found = [counts[repr(conv), shape] for conv, shape in shapes.items()]
    stored = sum(parameter.numel() for parameter in flow.parameters())
    return stored, stored - sum(stored - free for stored, free in found)


def convolutions(flow: LevelFlow) -> list[Bijection]:
    """The invertible convolutions of a flow, in the order of the data."""
    return [one for _, part in flow.parts() for one in part.chained() if one.mixes]


def count_inverse(layer: Bijection, shape: Shape) -> float:
    """Multiply-adds of one inverse of one image in eval mode, with everything cached.

    Where that takes iterations, as many as for one random image and the present weights.
    """
    probe = copy.deepcopy(layer).eval()
    return _count(probe, shape, probe.recordable_inverse)


def count_log_det(layer: Bijection, shape: Shape) -> float:
    """What log_det adds to one forward pass of one image in training, in multiply-adds.

    Whatever z needs as well is not counted.
    """
    probe = copy.deepcopy(layer).train()
    whole = _count(probe, shape, lambda _: probe)
    return whole - _count(probe, shape, lambda _: lambda x: probe(x)[0])


def _count(
    layer: Bijection, shape: Shape, prepare: Callable[[Tensor], Callable[[Tensor], object]]
) -> float:
    like = next(layer.parameters(), torch.empty(()))
    image = torch.randn(1, *shape, dtype=like.dtype, device=like.device)
    with torch.no_grad():
        call = prepare(image)
        call(image)  # keeps what is cached in eval mode
        with held(layer):
            graph = make_fx(lambda x: call(x))(image).graph
    graph.eliminate_dead_code()
    return sum(_count_node(node) for node in graph.nodes if node.op == "call_function")


def _count_node(node: Node) -> float:
    """Multiply-adds of one operator: an elementwise step counts as one, a complex pair as four."""
    name = str(getattr(node.target, "__name__", node.target)).split(".")[0]
    if name in MOVES:
        return 0
    assert isinstance(node.target, torch._ops.OpOverload)
    inputs = [_value(argument) for argument in node.all_input_nodes]
    if name == "triangular_conv2d":
        x, weight = inputs
        _, per_group, _, kw = weight.shape
        row, column = cast(list[int], node.args[2])
        return x.numel() * ((row * kw + column) * per_group + (per_group + 1) / 2)
    complex_ = 4 if inputs and inputs[0].is_complex() else 1
    if node.target.overloadpacket in flop_registry:
        arguments = [_value(a) if isinstance(a, Node) else a for a in node.args]
        flops = flop_registry[node.target.overloadpacket](*arguments, out_val=_value(node))
        return flops / 2 * complex_
    if name in MATRICES:
        n, right = inputs[0].shape[-1], inputs[-1].shape[-1]
        return MATRICES[name](n, right) * complex_ * inputs[0].numel() / n**2
    if name.startswith("_fft_"):
        sizes = inputs[0].shape if name != "_fft_c2r" else _value(node).shape
        points = math.prod(sizes[dim] for dim in cast(list[int], node.args[1]))
        each = 2.5 if name == "_fft_c2c" else 1.25
        return each * math.prod(sizes) * math.log2(max(2, points))
    if name in REDUCTIONS:
        return float(inputs[0].numel())
    if torch.Tag.pointwise in node.target.tags or name in UNTAGGED:
        return float(_value(node).numel())
    raise NotImplementedError(f"what {node.target} costs is not known to invconv.bench.counting")


def _value(node: object) -> Tensor:
    assert isinstance(node, Node)
    value = node.meta["val"]
    value = value[0] if isinstance(value, tuple) else value
    assert isinstance(value, Tensor), node
    return value
