"""What is printed: on any terminal, and without a traceback where the reader has gone."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CLOSED = 141
"""The exit code that a shell reports of other programs whose reader has gone: 128 + SIGPIPE."""


@contextmanager
def terminal() -> Iterator[None]:
    """Inside, what a terminal cannot print is escaped, and a reader that has gone is no error.

    Raises SystemExit with code `CLOSED` where nobody reads what is printed, as after ``| head``.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        nobody = os.open(os.devnull, os.O_WRONLY)  # Python flushes both once more at its end
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nobody, stream.fileno())
        raise SystemExit(CLOSED) from None
