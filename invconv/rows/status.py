"""What can become of a cell, and the exceptions that stand for it."""

import subprocess
from enum import StrEnum

from invconv.numerical import NumericalError


class Status(StrEnum):
    """How a cell ended; only `OK` carries values."""

    OK = "ok"
    UNSUPPORTED = "unsupported"
    INCORRECT = "incorrect"
    OOM = "oom"
    TIMEOUT = "timeout"
    ERROR = "error"


class Unsupported(Exception):
    """The cell asks for what the method cannot do; the message says why."""


class Incorrect(ArithmeticError):
    """The cell's result failed its check, so its speed means nothing."""


def classify(error: Exception) -> Status:
    """The status that an exception stands for."""
    import torch  # not at the top: whoever only reads rows does without

    allocator = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    if allocator or isinstance(error, torch.OutOfMemoryError | MemoryError):
        return Status.OOM
    if isinstance(error, Unsupported | NotImplementedError):
        return Status.UNSUPPORTED
    if isinstance(error, Incorrect | NumericalError):
        return Status.INCORRECT
    timed_out = type(error).__name__ == "UncompletedJobError"  # submitit's, which need not be here
    if timed_out or isinstance(error, TimeoutError | subprocess.TimeoutExpired):
        return Status.TIMEOUT
    return Status.ERROR


def describe(error: Exception) -> str:
    """The exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
