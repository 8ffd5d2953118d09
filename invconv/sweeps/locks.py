"""Who works on a cell: a lock that ends with its process, and a record of the attempts.

A POSIX lock (`fcntl.lockf`) on the empty file ``lock`` in the cell's folder. The kernel releases
it when its process ends, however it ends, and it works between machines: on NFS (3 with lockd, 4),
Lustre (-o flock), GPFS and BeeGFS (tuneUseGlobalFileLocks). A file system without locks says so,
and `check_locks` refuses it before a sweep starts; one that locks within a machine only does not.
"""

import fcntl
import json
import os
import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Self
from uuid import uuid4

from invconv.files import LocksRefused as LocksRefused
from invconv.files import take_lock
from invconv.rows.row import Values, now

LOCK, ATTEMPTS = "lock", "attempts.jsonl"
REQUEUED_S = 120.0
"""How long a requeued job waits for its former node: NFS 4 drops a dead one's locks after 90 s."""
PROCESS = uuid4().hex[:12]
"""With the process number, tells this process from all others."""


class Held(Exception):
    """Another process works on the cell; the message says which."""


@dataclass(frozen=True)
class Attempt:
    """Who tried a cell, when, and the outcome: a status, "skipped", "interrupted", "died", ..."""

    host: str
    pid: int
    job: str = ""
    date: str = ""
    process: str = ""
    outcome: str = ""
    reason: str = ""
    """Why it was refused."""
    ended: str = ""
    """When."""

    def __str__(self) -> str:
        job = f", SLURM job {self.job}" if self.job else ""
        return f"process {self.pid} on {self.host}{job}, since {self.date}"


class Lock:
    """Locks ``folder`` while entered, against all other processes, its own forks included.

    Raises Held on entering, if another process keeps the lock for ``patience`` seconds, or for
    `REQUEUED_S` if that may be this job on its former node.

    Set ``outcome``, and ``reason`` where there is one; they are recorded on leaving. It is
    ``requeued`` if this is a SLURM job, started again, that made the last attempt, too.
    """

    def __init__(self, folder: Path, patience: float = 2.0) -> None:
        self.folder, self.patience = folder, patience
        self.outcome, self.reason, self.requeued = "interrupted", "", False

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        if _is_mine(_last(self.folder)):
            raise Held(holder(self.folder))
        patience = REQUEUED_S if _is_requeued(self.folder) else self.patience
        deadline = time.monotonic() + patience
        with ExitStack() as stack:
            # closing any descriptor of this file releases its process's lock: nobody else opens it
            file = stack.enter_context((self.folder / LOCK).open("ab"))
            while not take_lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                if time.monotonic() > deadline:
                    raise Held(holder(self.folder) or "another process")
                time.sleep(0.05)  # whoever only looks has it for an instant
            _refresh(self.folder)
            self.requeued = _is_requeued(self.folder)
            me: Values = {"host": socket.gethostname(), "pid": os.getpid(), "process": PROCESS}
            _append(self.folder, {**me, "job": slurm_job(), "date": now()})
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            why: Values = {"reason": self.reason} if self.reason else {}
            _append(self.folder, {"outcome": self.outcome, **why, "date": now()})


def attempts(folder: Path) -> list[Attempt]:
    """The attempts at a cell, oldest first; one without an end is "running" or "died"."""
    found = _read(folder)
    ends = ["died"] * len(found)
    if found and not found[-1].outcome:
        ends[-1] = "running" if _is_locked(folder) else "died"
        found = _read(folder)  # it may have ended before the lock was looked at
    both = zip(found, ends, strict=False)
    return [replace(one, outcome=one.outcome or end) for one, end in both]


def holder(folder: Path) -> str:
    """Who works on the cell now, "" if nobody does."""
    _refresh(folder)
    locked, last = _is_locked(folder), _last(folder)
    return "" if not locked else "another process" if last.outcome else str(last)


def check_locks(folder: Path) -> None:
    """Raise LocksRefused if the file system of ``folder`` has no locks."""
    folder.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=folder, suffix=".partial") as file:
        take_lock(file.file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def slurm_job() -> str:
    """The SLURM job (of an array: array_task) that this process belongs to, or ""."""
    array, job = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_JOB_ID", "")
    task = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    return f"{array}_{task}" if array and task else job


def _refresh(folder: Path) -> None:
    """Has NFS forget which files were missing: it believes so until the folder is changed here."""
    with suppress(OSError), NamedTemporaryFile(dir=folder, suffix=".partial"):
        pass


def _is_locked(folder: Path) -> bool:
    if _is_mine(_last(folder)):  # a lock of this process would not show, and be lost
        return True
    try:
        with (folder / LOCK).open("rb") as file:
            return not take_lock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_mine(one: Attempt) -> bool:
    me = socket.gethostname(), os.getpid(), PROCESS, ""
    return (one.host, one.pid, one.process, one.outcome) == me


def _is_requeued(folder: Path) -> bool:
    return "SLURM_RESTART_COUNT" in os.environ and _last(folder).job == slurm_job() != ""


def _last(folder: Path) -> Attempt:
    return (_read(folder) or [Attempt("", 0, outcome="none")])[-1]


def _read(folder: Path) -> list[Attempt]:
    """The attempts, with the outcome "" where they have no end; broken lines are skipped."""
    found, path = list[Attempt](), folder / ATTEMPTS
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with suppress(ValueError, TypeError, LookupError, RecursionError):
            entry = json.loads(line)
            if "outcome" in entry:
                reason, date = str(entry.get("reason", "")), str(entry.get("date", ""))
                outcome = str(entry["outcome"])
                found[-1] = replace(found[-1], outcome=outcome, reason=reason, ended=date)
            else:
                found.append(Attempt(**entry))
    return found


def _append(folder: Path, entry: Values) -> None:
    """Add a line, on a fresh one: whoever wrote the last may have been killed meanwhile."""
    with (folder / ATTEMPTS).open("a+b", buffering=0) as file:
        file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
        fresh = file.read() in (b"", b"\n")
        file.write(b"\n" * (not fresh) + json.dumps(entry).encode() + b"\n")
        os.fsync(file.fileno())
