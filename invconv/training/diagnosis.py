"""Which layer of a flow first produced something that is not finite."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from invconv.flows import LevelFlow


def first_non_finite(flow: LevelFlow, evaluate: Callable[[], object]) -> str:
    """Repeats a computation of ``flow`` and names the first layer that leaves the finite numbers.

    Args:
        flow: whose layers are watched.
        evaluate: calls ``flow``; without gradients, with the same data and noise.

    Returns:
        For example ``"the log_det of level 1, layer 3 (ActNorm)"``; empty if all is finite.
    """
    found: list[str] = []
    layers: dict[str, nn.Module] = {"the dequantization": flow.dequantization}
    for i, level in enumerate(flow.levels):
        layers |= {f"level {i}, layer {j}": layer for j, layer in enumerate(level.children())}

    def watch(place: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(layer: nn.Module, _: Any, output: Any) -> None:
            *values, log_det = output
            if not all(map(_finite, values)):
                found.append(f"the output of {place} ({type(layer).__name__})")
            elif not _finite(log_det):
                found.append(f"the log_det of {place} ({type(layer).__name__})")

        return hook

    handles = [layer.register_forward_hook(watch(place)) for place, layer in layers.items()]
    try:
        with torch.no_grad():
            evaluate()
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ""


def first_bad_gradient(flow: LevelFlow) -> str:
    """The parameter nearest to the loss whose gradient is not finite; empty if there is none."""
    for name, parameter in reversed(list(flow.named_parameters())):
        if parameter.grad is not None and not _finite(parameter.grad):
            return f"the gradient of {name}"
    return ""


def _finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())
