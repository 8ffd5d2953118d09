"""What can become of a cell, and the exceptions that stand for it."""

import subprocess
from enum import StrEnum


class Status(StrEnum):
    """How a cell ended; `OK` and `NOISY` carry values, and only those of `OK` are compared."""

    OK = "ok"
    NOISY = "noisy"
    UNSUPPORTED = "unsupported"
    INCORRECT = "incorrect"
    OOM = "oom"
    TIMEOUT = "timeout"
    ERROR = "error"


class Unsupported(Exception):
    """The cell asks for what the method cannot do; the message says why."""


class NotBegun(Exception):
    """The cell measured nothing, since what it asks for is not there; the message says what."""


class Incorrect(ArithmeticError):
    """The cell's result failed its check, so its speed means nothing."""


def classify(error: Exception) -> Status:
    """The status that an exception stands for."""
    import torch  # not at the top: whoever only reads rows does without

    from invconv.numerical import NumericalError
    from invconv.validation import UnsupportedShape

    allocator = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    if allocator or isinstance(error, torch.OutOfMemoryError | MemoryError):
        return Status.OOM
    if isinstance(error, Unsupported | UnsupportedShape | NotImplementedError):
        return Status.UNSUPPORTED
    if isinstance(error, Incorrect | NumericalError):
        return Status.INCORRECT
    timed_out = type(error).__name__ == "UncompletedJobError"  # submitit's, which need not be here
    if timed_out or isinstance(error, TimeoutError | subprocess.TimeoutExpired):
        return Status.TIMEOUT
    return Status.ERROR


REFUSALS = (ValueError, TypeError, LookupError, OSError, ImportError)
"""What is raised of data that are not there, and of names and options that nothing has."""


def is_refusal(error: Exception) -> bool:
    """Whether an exception says nothing of a method: what was asked for could not be begun."""
    return isinstance(error, REFUSALS) and classify(error) == Status.ERROR


def describe(error: Exception) -> str:
    """The exception in one line, in characters that a file can hold."""
    said = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()
    return " ".join(said.split())
