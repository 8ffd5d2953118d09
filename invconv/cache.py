"""Values computed from parameters, kept while the parameters are the same."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import shared_cache
from torch.optim.optimizer import register_optimizer_step_post_hook

from invconv.modes import is_plain, no_autocast
from invconv.solvers import compiled

_steps = 0
"""How many steps all optimizers took since something was kept for the first time."""


class EvalCache:
    """Keeps what was computed from parameters, for sampling in eval mode.

    Used only where gradients are off and the caller's module is in eval mode.

    On a CPU an entry is valid while a checksum of the parameters' memory is the same, so that no
    change is missed, whoever made it: an optimizer, `load_state_dict`, ``parameter.data``, NumPy,
    another process. Without the C++ extension nothing is kept.

    On a GPU an entry is valid for the same parameters with the same version, dtype and memory,
    until any optimizer takes its next step (one with ``fused=True`` does not raise the versions).
    Nothing is kept while a process group exists or CUDA memory is shared among processes. Writes
    that go around torch (raw pointers, replays of a CUDA graph, ``parameter.data``) are not seen;
    call ``layer.refresh()`` after them.

    An entry is dropped, too, when a caller has changed it in place. Never pickled, never copied.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._held = False

    def get(
        self, name: str, parameters: Sequence[Tensor], training: bool, compute: Callable[[], Any]
    ) -> Any:
        """``compute()``, or what it returned before if nothing has changed since.

        Where it is kept, a tensor that is a single number of a CPU is returned as a number.
        """
        entry = self._entries.get(name)
        if self._held and entry is not None:
            return entry.value
        if training or torch.is_grad_enabled() or not is_plain():
            return compute()
        if entry is not None and entry.is_current(parameters):
            return entry.value
        state = _state(parameters)
        if state is None:
            return compute()
        with no_autocast(parameters[0].device):  # what is kept serves calls outside of it, too
            value = _numbers(compute())
        versions = [(t, t._version) for t in _tensors(value) if not t.is_inference()]
        self._entries[name] = _Entry(*state, versions, value)
        return value

    def clear(self) -> None:
        """Drop everything."""
        self._entries = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_entries": {}, "_held": False}

    def __deepcopy__(self, memo: dict[int, Any]) -> "EvalCache":
        return EvalCache()


def caches(module: nn.Module) -> Iterator[EvalCache]:
    """Those of a module and of the modules in it."""
    for part in module.modules():
        yield from (value for value in vars(part).values() if isinstance(value, EvalCache))


@contextmanager
def held(module: nn.Module) -> Iterator[None]:
    """Inside, what the caches of ``module`` hold is used whatever happens, to count operations."""
    for one in caches(module):
        one._held = True
    try:
        yield
    finally:
        for one in caches(module):
            one._held = False


class _Entry(NamedTuple):
    """What was kept, and what has to be the same for it to be right."""

    inference: bool
    owners: list[tuple[Tensor, int, torch.dtype, torch.Size, tuple[int, ...]]]
    memory: list[tuple[int, int]]
    detached: list[Tensor]
    """They hold the memory, so that its address cannot come to mean another."""
    changes: Any
    versions: list[tuple[Tensor, int]]
    value: Any

    def is_current(self, parameters: Sequence[Tensor]) -> bool:
        """Whether nothing has changed, neither the parameters nor what was kept."""
        if self.inference is not torch.is_inference_mode_enabled():
            return False
        for p, (owner, address, dtype, shape, stride) in zip(parameters, self.owners, strict=True):
            if (
                p is not owner
                or p.data_ptr() != address
                or p.dtype is not dtype
                or p.shape != shape
                or p.stride() != stride
            ):
                return False
        for tensor, version in self.versions:
            if tensor._version != version:
                return False
        return bool(self.changes == _changes(parameters, self.memory))


def _state(
    parameters: Sequence[Tensor],
) -> tuple[bool, list[Any], list[tuple[int, int]], list[Tensor], Any] | None:
    """What is the same as long as the parameters are; None where that cannot be known."""
    owners: list[Any] = []
    memory = []
    for p in parameters:
        if type(p) is not nn.Parameter and type(p) is not Tensor:
            return None
        channels_last = p.dim() == 4 and p.is_contiguous(memory_format=torch.channels_last)
        if not (p.is_contiguous() or channels_last):
            return None
        owners.append((p, p.data_ptr(), p.dtype, p.shape, p.stride()))
        memory.append((p.data_ptr(), p.nbytes))
    changes = _changes(parameters, memory)
    if changes is None:
        return None
    inference = torch.is_inference_mode_enabled()
    return inference, owners, memory, [p.detach() for p in parameters], changes


def _changes(parameters: Sequence[Tensor], memory: list[tuple[int, int]]) -> Any:
    """A number that any change of the parameters changes; None where there is none."""
    if all(p.is_cpu for p in parameters):
        extension = compiled.extension()
        return None if extension is None else extension.checksum(memory)
    if _is_shared() or any(p.is_inference() for p in parameters):
        return None
    _count_steps()
    return _steps, [(p.device, p._version) for p in parameters]


def _is_shared() -> bool:
    """Whether others may write to the memory of this process's devices."""
    distributed = torch.distributed
    in_group = distributed.is_available() and distributed.is_initialized()
    return in_group or bool(shared_cache)


def _numbers(value: Any) -> Any:
    """``value`` with each tensor of no dimensions as a number, where that waits for no device."""
    if isinstance(value, tuple):
        return type(value)(map(_numbers, value)) if type(value) is tuple else value
    single = isinstance(value, Tensor) and not value.ndim and value.is_cpu
    return value.item() if single else value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _tensors(part)


@cache
def _count_steps() -> None:
    """Lets every step of every optimizer raise `_steps` from now on."""
    register_optimizer_step_post_hook(_count_step)


def _count_step(*_: Any) -> None:
    global _steps
    _steps += 1
