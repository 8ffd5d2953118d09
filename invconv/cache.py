"""Values computed from parameters, kept while they cannot change."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

_steps = 0
"""How many steps all optimisers took since something was kept for the first time."""


class EvalCache:
    """Keeps what was computed from parameters, for sampling in eval mode.

    Used only where gradients are off and the caller's module is in eval mode. An entry is valid
    for the same parameter objects with the same version, device, dtype and memory, until any
    optimiser takes its next step (one with ``fused=True`` does not raise the versions), so that
    optimiser steps, `load_state_dict`, `.to()` and in-place changes all drop it. What changes
    parameters behind torch's back is not seen: in place through ``parameter.data``, for which
    there is ``torch.no_grad()``, the replay of a CUDA graph, or an optimiser that is no
    `torch.optim.Optimizer` and writes through pointers. Never pickled, never copied.
    """

    def __init__(self) -> None:
        self._entries: dict[str, tuple[tuple[Any, ...], list[Tensor], list[Tensor], Any]] = {}

    def get(
        self, name: str, parameters: Sequence[Tensor], training: bool, compute: Callable[[], Any]
    ) -> Any:
        """``compute()``, or what it returned before if nothing has changed since."""
        if (
            training
            or torch.is_grad_enabled()
            or torch.compiler.is_compiling()
            or torch._C._get_tracing_state() is not None
            or torch._C._functorch.peek_interpreter_stack() is not None
            or any(p.is_inference() for p in parameters)
        ):
            return compute()
        mode = torch.is_inference_mode_enabled()
        key = (mode, _steps, *((p._version, p.device, p.dtype, p.data_ptr()) for p in parameters))
        entry = self._entries.get(name)
        if entry is not None:
            known, owners, _, value = entry
            if known == key and all(a is b for a, b in zip(owners, parameters, strict=True)):
                return value
        kind = parameters[0].device.type
        if torch.is_autocast_enabled(kind):  # what is kept serves calls outside of it, too
            with torch.autocast(kind, enabled=False):
                value = compute()
        else:
            value = compute()
        # The detached tensors hold the memory, so that its address cannot come to mean another.
        held = [p.detach() for p in parameters]
        _count_steps()
        self._entries[name] = (key, list(parameters), held, value)
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {"_entries": {}}

    def __deepcopy__(self, memo: dict[int, Any]) -> "EvalCache":
        return EvalCache()


@cache
def _count_steps() -> None:
    """Lets every step of every optimiser raise `_steps` from now on."""
    register_optimizer_step_post_hook(_count_step)


def _count_step(*_: Any) -> None:
    global _steps
    _steps += 1
