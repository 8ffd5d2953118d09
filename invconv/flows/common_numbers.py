"""The same initial weights for what two flows have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from invconv.seeds import hashed

_seed: ContextVar[int | None] = ContextVar("seed", default=None)


@contextmanager
def common_numbers() -> Iterator[None]:
    """Give each part that is built inside a stream of random numbers of its own, see `drawn`.

    One number is drawn from torch's generator and decides all streams. Two flows that are built
    after the same ``torch.manual_seed`` therefore begin with the same weights where they have
    the same parts at the same places, whatever other parts they have: common random numbers,
    which make the difference of two methods less random than the methods are.
    """
    first = int(torch.randint(2**31, (), device="cpu"))
    with _stream(first):
        yield


@contextmanager
def drawn(name: str) -> Iterator[None]:
    """Draw what is built inside from the stream of this name, inside of other `drawn` their own.

    Outside of `common_numbers` it changes nothing.

    >>> import torch
    >>> from invconv.flows.common_numbers import common_numbers, drawn
    >>> def two(unlike):
    ...     torch.manual_seed(0)
    ...     with common_numbers():
    ...         with drawn("convolution"):
    ...             torch.rand(unlike)
    ...         with drawn("coupling"):
    ...             return torch.rand(1)
    >>> two(3) == two(5)
    tensor([True])
    """
    seed = _seed.get()
    if seed is None:
        yield
        return
    with _stream(hashed(seed, name)):
        yield


@contextmanager
def _stream(seed: int) -> Iterator[None]:
    generator = torch.default_generator
    state, token = generator.get_state(), _seed.set(seed)
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(state)
        _seed.reset(token)
