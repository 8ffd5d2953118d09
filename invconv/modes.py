"""What torch does besides computing: recording, and autocast."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch._C import _TorchDispatchModeKey
from torch.autograd import forward_ad

_RECORDERS = (_TorchDispatchModeKey.PROXY, _TorchDispatchModeKey.FAKE)


def is_tracing() -> bool:
    """Whether `torch.jit.trace` is at work, for which sizes are tensors."""
    return torch._C._get_tracing_state() is not None


def is_recording() -> bool:
    """Whether `torch.jit.trace`, `torch.compile`, `torch.export` or `make_fx` is at work.

    Then nothing may depend on a value or on the number of images, and nothing that was computed
    before may be used: it would become a constant of what is recorded.
    """
    return (
        torch.compiler.is_compiling()
        or is_tracing()
        or (
            torch._C._len_torch_dispatch_stack() > 0
            and any(torch._C._get_dispatch_mode(key) is not None for key in _RECORDERS)
        )
    )


def is_plain() -> bool:
    """Whether torch computes eagerly and nothing else: it neither records nor transforms.

    Only then may a value be looked at, kept for the next call, or written through a pointer.
    """
    return (
        not torch.compiler.is_compiling()  # which does not know what follows
        and not is_tracing()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and forward_ad._current_level < 0
    )


def is_autocast(device: torch.device) -> bool:
    """Whether autocast is on for ``device``; torch knows none for meta."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Switch TF32 on or off inside, for matrix products and convolutions."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def full_float32(device: torch.device) -> AbstractContextManager[None]:
    """A context without TF32 on ``device``, unless something records what torch computes."""
    return tf32(False) if device.type == "cuda" and not is_recording() else nullcontext()


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which autocast is off for ``device``."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
