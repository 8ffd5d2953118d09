"""Files that are never half written, and what is said of those that cannot be read."""

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import IO, BinaryIO
from uuid import uuid4

REFUSALS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
HELD = (errno.EACCES, errno.EAGAIN)


class LocksRefused(OSError):
    """The file system has no locks; the message says what to do."""


def cache_folder() -> Path:
    """Return where compiled kernels and downloaded data are kept: $INVCONV_CACHE, or the user's.

    That is ``invconv`` in $XDG_CACHE_HOME, which counts if it is absolute, or in ~/.cache.
    """
    if given := os.environ.get("INVCONV_CACHE"):
        return user_path(given)
    of_user = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (of_user if of_user.is_absolute() else user_path("~/.cache")) / "invconv"
    except ValueError as error:
        reason = "there is no home folder for a cache: name a folder in $INVCONV_CACHE"
        raise FileNotFoundError(reason) from error


def user_path(text: str | Path) -> Path:
    """Return the path with its ``~`` expanded, which a shell leaves after ``=`` and in quotes.

    Raises:
        ValueError: if there is no such user, or this one has no home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{text}: no home folder is known for ~, give it in full") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write; ``path`` becomes it on leaving, whole, or stays what it was.

    Holds after the process was killed and after the machine lost power, whichever processes and
    machines write at the same time. Where the writing raises, nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(content: bytes, path: Path) -> None:
    """Write ``path``, which holds either what it held before or all of ``content``."""
    with replacing(path) as file:
        file.write(content)


def write_text_atomically(text: str, path: Path) -> None:
    """Write ``path`` in UTF-8, as `write_atomically` does; names of files may be no text."""
    write_atomically(text.encode(errors="backslashreplace"), path)


def take_lock(file: IO[bytes], kind: int) -> bool:
    """Take a POSIX lock on an open file.

    Args:
        file: is open for writing where ``kind`` has LOCK_EX, for reading where it has LOCK_SH.
        kind: of `fcntl.lockf`.

    Returns:
        False if ``kind`` has LOCK_NB and another process has the lock.

    Raises:
        LocksRefused: if the file system has no locks.
    """
    try:
        fcntl.lockf(file, kind)
    except OSError as error:
        if error.errno in HELD:
            return False
        if error.errno in REFUSALS:
            raise LocksRefused(
                f"cannot lock a file in {Path(file.name).parent} ({error.strerror}): choose a "
                "folder on a file system with locks (runs=...), or mount Lustre with -o flock"
            ) from error
        raise
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Inside, every other process that locks ``path`` waits; its threads do not.

    By a POSIX lock on a file beside it, which ends with its process and works on NFS.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("ab") as lock:
        take_lock(lock, fcntl.LOCK_EX)
        yield


def remove_partial(folder: Path) -> None:
    """Remove what writers that were killed have left in ``folder``."""
    for partial in folder.glob("*.partial"):
        partial.unlink(missing_ok=True)


def brief(error: Exception) -> str:
    """The first line of what an exception says, or its name where that is empty."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@cache
def import_file(name: str | Path) -> ModuleType:
    """The module in a file, beside which its own imports are found.

    Raises:
        FileNotFoundError: if there is no such file; and what the module raises.
    """
    path = user_path(name).resolve()
    spec = spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise FileNotFoundError(f"there is no file {path}")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    module = module_from_spec(spec)
    sys.modules[path.stem] = module  # where pickle looks for its classes
    spec.loader.exec_module(module)
    return module
