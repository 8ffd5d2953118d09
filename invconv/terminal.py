"""What is printed: on any terminal, and without a traceback where the reader has gone."""

import io
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

CLOSED = 141
"""The exit code that a shell reports of other programs whose reader has gone: 128 + SIGPIPE."""

WIDTH = 100
"""Columns of what is printed, or fewer where the terminal has fewer."""


def aligned(lines: Sequence[Sequence[str]], title: str = "") -> str:
    """Return lines in columns of equal width, below a title; the last column is wrapped.

    >>> from invconv.terminal import aligned
    >>> print(aligned([("finc", "FInC"), ("me_woodbury", "ME-Woodbury")], "layers:"))
    layers:
      finc         FInC
      me_woodbury  ME-Woodbury
    """
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    sizes = [max(map(len, column)) for column in zip(*lines, strict=True)][:-1]
    printed = [title] if title else []
    for *cells, last in lines:
        head = "  " + "".join(f"{cell:{size}}  " for cell, size in zip(cells, sizes, strict=True))
        room = max(20, width - len(head))
        wrapped = textwrap.wrap(last, room, break_long_words=False, break_on_hyphens=False)
        text = "\n".join(wrapped) or ""
        printed.append((head + text.replace("\n", "\n" + " " * len(head))).rstrip())
    return "\n".join(printed)


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
