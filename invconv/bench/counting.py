"""What a layer stores and computes, counted from the module itself."""

import copy
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import flop_registry

from invconv.conv import InvertibleConv, Shape
from invconv.flows import LevelFlow

_MOVES = """
_to_copy _unsafe_view alias arange as_strided bool cat clone constant_pad_nd copy_ detach
diag_embed diagonal empty empty_like expand eye fill_ flip full full_like gather getitem index
index_put_ lift_fresh_copy new_empty new_full new_ones new_zeros ones ones_like permute repeat
roll scalar_tensor select select_scatter slice slice_scatter split split_with_sizes squeeze
stack t transpose tril triu unbind unfold unsqueeze view view_as_complex view_as_real where
zero_ zeros zeros_like
"""
MOVES = frozenset(_MOVES.split())
"""Operators that move or select numbers and compute none."""

REDUCTIONS = frozenset(
    ("amax", "amin", "linalg_vector_norm", "max", "mean", "min", "prod", "sum", "var", "var_mean")
)
"""Operators that touch each input once."""

UNTAGGED = frozenset(("log_sigmoid_forward", "polar"))
"""Elementwise operators that torch does not tag as such."""

MATRICES: dict[str, Callable[[int, int], float]] = {
    "_linalg_slogdet": lambda n, m: n**3 / 3,
    "linalg_inv_ex": lambda n, m: n**3,
    "linalg_lu": lambda n, m: n**3 / 3,
    "linalg_lu_factor_ex": lambda n, m: n**3 / 3,
    "linalg_lu_solve": lambda n, m: n * n * m,
    "linalg_solve_triangular": lambda n, m: n * n * m / 2,
}
"""Multiply-adds for one n×n matrix and m right-hand sides."""


def count_parameters(layer: InvertibleConv, shape: Shape) -> tuple[int, int]:
    """The parameters that ``layer`` stores, and those on which z or log_det really depend.

    The second is counted by gradients: an entry that is masked away has none, and neither has a
    tap that reaches beyond the probing image.

    Args:
        layer: any layer; it is not changed.
        shape: (C, H, W) of the probing image, at least as large as all taps together.
    """
    probe = copy.deepcopy(layer).double().train().requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in probe.parameters():
            noise = torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator)
            parameter.add_(0.01 * noise.to(parameter.device))
    device = next((p.device for p in probe.parameters()), torch.device("cpu"))
    x = torch.randn(2, *shape, dtype=torch.float64, generator=generator).to(device)
    with torch.enable_grad():
        z, log_det = probe(x)
        loss = (z * torch.randn(z.shape, generator=generator).to(z)).sum() + log_det.sum()
        loss.backward()
    stored = sum(parameter.numel() for parameter in probe.parameters())
    gradients = [p.grad for p in probe.parameters() if p.grad is not None]
    return stored, sum(int(torch.count_nonzero(grad)) for grad in gradients)


def count_flow_parameters(flow: LevelFlow, images: Tensor) -> tuple[int, int]:
    """The parameters that ``flow`` stores, and how many its convolutions do not mask away.

    The second is counted as in `count_parameters`.

    Args:
        flow: it is not changed.
        images: (B, C, H, W), integers, for one pass.
    """
    shapes: dict[InvertibleConv, Shape] = {}
    hooks = [
        part.register_forward_pre_hook(
            lambda module, arguments: (
                shapes.setdefault(module, tuple(arguments[0].shape[1:])) and None
            )
        )
        for part in outermost_convolutions(flow)
    ]
    try:
        with torch.no_grad():
            flow.log_prob(images)
    finally:
        for hook in hooks:
            hook.remove()
    masked: dict[tuple[str, Shape], int] = {}
    total = 0
    for conv, shape in shapes.items():
        key = repr(conv), shape
        if key not in masked:
            stored, free = count_parameters(conv, shape)
            masked[key] = stored - free
        total += masked[key]
    stored = sum(parameter.numel() for parameter in flow.parameters())
    return stored, stored - total


def outermost_convolutions(module: nn.Module) -> Iterator[InvertibleConv]:
    """The invertible convolutions of a flow, without those inside another one."""
    for child in module.children():
        if isinstance(child, InvertibleConv):
            yield child
        else:
            yield from outermost_convolutions(child)


def count_inverse(layer: InvertibleConv, shape: Shape) -> float:
    """Multiply-adds of one inverse of one image in eval mode, with everything cached."""
    probe = copy.deepcopy(layer).eval()
    z = _image(probe, shape)
    with torch.no_grad():
        probe.inverse(z)
        return _count(make_fx(lambda z: probe.inverse(z))(z).graph)


def count_log_det(layer: InvertibleConv, shape: Shape) -> float:
    """What log_det adds to one forward pass of one image in training, in multiply-adds.

    Whatever z needs as well is not counted.
    """
    probe = copy.deepcopy(layer).train()
    x = _image(probe, shape)
    with torch.no_grad():
        both, z = make_fx(lambda x: probe(x))(x).graph, make_fx(lambda x: probe(x)[0])(x).graph
    return _count(both) - _count(z)


def _image(layer: InvertibleConv, shape: Shape) -> Tensor:
    like = next(layer.parameters(), torch.empty(()))
    return torch.randn(1, *shape, dtype=like.dtype, device=like.device)


def _count(graph: Graph) -> float:
    graph.eliminate_dead_code()
    return sum(_count_node(node) for node in graph.nodes if node.op == "call_function")


def _count_node(node: Node) -> float:
    """Multiply-adds of one operator: an elementwise step counts as one, a complex pair as four.

    Raises:
        NotImplementedError: for an unknown operator, so that none is omitted.
    """
    name = str(getattr(node.target, "__name__", node.target)).split(".")[0]
    if name in MOVES:
        return 0
    assert isinstance(node.target, torch._ops.OpOverload)
    inputs = [_value(argument) for argument in node.all_input_nodes]
    if name == "triangular_conv2d":
        x, weight = inputs
        _, per_group, _, kw = weight.shape
        row, column = _integers(node.args[2])
        before = row * kw + column
        return x.numel() * (before * per_group + (per_group + 1) / 2)
    if node.target.overloadpacket in flop_registry:
        arguments = [_value(a) if isinstance(a, Node) else a for a in node.args]
        flops = flop_registry[node.target.overloadpacket](*arguments, out_val=_value(node))
        return flops / 2 * (4 if inputs[0].is_complex() else 1)
    if name in MATRICES:
        n, right = inputs[0].shape[-1], inputs[-1].shape[-1]
        one = MATRICES[name](n, right) * (4 if inputs[0].is_complex() else 1)
        return one * inputs[0].numel() / n**2
    if name.startswith("_fft_"):
        sizes = inputs[0].shape if name != "_fft_c2r" else _value(node).shape
        points = math.prod(sizes[dim] for dim in _integers(node.args[1]))
        complex_ = 1.0 if name == "_fft_c2c" else 0.5
        return complex_ * 2.5 * math.prod(sizes) * math.log2(max(2, points))
    if name in REDUCTIONS:
        return float(inputs[0].numel())
    if torch.Tag.pointwise in node.target.tags or name in UNTAGGED:
        return float(_value(node).numel())
    raise NotImplementedError(f"what {node.target} costs is not known to invconv.bench.counting")


def _integers(argument: object) -> list[int]:
    assert isinstance(argument, list)
    return argument


def _value(node: object) -> Tensor:
    assert isinstance(node, Node)
    value = node.meta["val"]
    value = value[0] if isinstance(value, tuple) else value
    assert isinstance(value, Tensor), node
    return value
