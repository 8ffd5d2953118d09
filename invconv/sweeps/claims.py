"""Who works on a cell: claims that no two processes can hold, on any machines that share a folder.

A claim is a file ``claim.<n>`` in the cell's folder. It is created exclusively, and only by a
process that found the claim before it (n − 1) ended or abandoned, so that of all who find that
exactly one succeeds; nothing is ever renamed or removed, and the files tell how often a cell was
tried. What this relies on: exclusive creation (O_EXCL) and replacement by rename are atomic, as
they are on local file systems, NFS from version 3, Lustre, GPFS and BeeGFS; and the file system
has one clock, which dates the heartbeats and "now".

A claim counts as abandoned

- at once, if it was made on this machine by a process that is gone;
- after `GONE_AFTER_S` without a heartbeat, if its SLURM job no longer runs, or is this job,
  started again, or if its maker did not live to write its name;
- after `STALE_AFTER_S` without a heartbeat, if nothing more is known.

A process on this machine that exists holds its claim whatever its heartbeat, asleep or not. A
holder that finds itself superseded, since it was out of reach for so long, is interrupted.
"""

import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from invconv.files import write_text_atomically
from invconv.rows.row import RowsError, now, read_json
from invconv.sweeps.processes import (
    describe,
    lives_here,
    myself,
    process_table,
    ran_out,
    slurm_job,
)

BEAT_S = 20.0
GONE_AFTER_S = 120.0
STALE_AFTER_S = 900.0
NAMES = {"host", "pid", "started", "pids", "date"}
"""What a claim says at least, before it has ended."""


class Held(Exception):
    """Another process works on the cell; the message says which."""


SUPERSEDED = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR1
"""What interrupts the work; not SIGINT, which processes in the background may ignore.

macOS has no real-time signals; SIGUSR2 is what schedulers send before a job's time is up.
"""


class ClaimLost(Exception):
    """The claim was taken over, since this process was out of reach for too long."""


class Claim:
    """Holds ``folder`` while entered.

    Attributes:
        outcome: what is noted when it ends; "interrupted" unless it was set.
        previous: what the claim before this one held, if there was one.
        lost: whether somebody took it over.

    Raises:
        Held: on entering, if another process works on the cell. Where that may be dead, this
            takes up to `GONE_AFTER_S`, until it has shown a heartbeat or none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outcome = "interrupted"
        self.previous: dict[str, Any] = {}
        self.lost = False
        self._ended = threading.Event()
        self._listens = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self._acquire()
        if self._listens:
            self._before = signal.signal(SUPERSEDED, signal.default_int_handler)
        self._beat = threading.Thread(target=self._keep, name="heartbeat", daemon=True)
        self._beat.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._beat.join()
        if self._listens:
            signal.signal(SUPERSEDED, self._before)
        ended = {**self.content, "ended": now(), "outcome": self.outcome}
        write_text_atomically(json.dumps(ended) + "\n", self.path)

    def check(self) -> None:
        """Raises ClaimLost if somebody took the claim over."""
        number, path = newest_claim(self.folder)
        if path is not None and path != self.path:
            self.lost = True
        if self.lost:
            raise ClaimLost(
                f"this process was out of reach for more than {STALE_AFTER_S / 60:.0f} minutes, "
                f"so that {describe(read_claim(path))} took over (claim {number})"
            )

    def _acquire(self) -> Path:
        self.content = myself()
        while True:
            number, path = newest_claim(self.folder)
            if path is not None:
                self.previous = read_claim(path)
                held = wait_for_end(path)
                if held:
                    raise Held(held)
            wanted = self.folder / f"claim.{number + 1}"
            try:
                descriptor = os.open(wanted, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                continue
            with os.fdopen(descriptor, "w") as file:
                file.write(json.dumps(self.content) + "\n")
                file.flush()
                os.fsync(file.fileno())
            return wanted

    def _keep(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                os.utime(self.path)
                self.lost = newest_claim(self.folder)[1] != self.path
            except OSError:
                continue  # an outage of the file system: others judge by how long it lasts
            if self.lost:
                if self._listens:
                    signal.pthread_kill(threading.main_thread().ident or 0, SUPERSEDED)
                return


def newest_claim(folder: Path) -> tuple[int, Path | None]:
    """The number and path of the claim that counts; (-1, None) if there is none."""
    numbers = [-1]
    if folder.is_dir():
        names = (re.fullmatch(r"claim\.(\d+)", entry.name) for entry in os.scandir(folder))
        numbers += [int(match[1]) for match in names if match]
    last = max(numbers)
    return last, None if last < 0 else folder / f"claim.{last}"


def read_claim(path: Path | None) -> dict[str, Any]:
    """What the claim says; nothing, if it is being written or says nothing that can be read."""
    try:
        found = read_json(path) if path else None
    except RowsError:
        return {}
    return found if found and ("ended" in found or found.keys() >= NAMES) else {}


def holder(folder: Path) -> str:
    """Who works on the cell as far as can be told now; "" if nobody does."""
    path = newest_claim(folder)[1]
    if path is None:
        return ""
    held = read_claim(path)
    return "" if _abandoned(held, _silence(path)) else describe(held)


def wait_for_end(path: Path) -> str:
    """ "" as soon as the claim is over; its holder, as soon as that has shown to be alive.

    One that shows neither for so long that its job would be known to be gone counts as alive.
    """
    first = path.stat().st_mtime_ns
    pause = 0.1
    while True:
        held, silence = read_claim(path), _silence(path)
        if _abandoned(held, silence):
            return ""
        beats = path.stat().st_mtime_ns != first
        if beats or silence > GONE_AFTER_S or lives_here(held):
            return describe(held)
        time.sleep(pause)
        pause = min(2 * pause, 2.0)


def _abandoned(held: dict[str, Any], silence: float) -> bool:
    if "ended" in held:
        return True
    if held and held["pids"] == process_table():
        return not lives_here(held)
    if silence > STALE_AFTER_S:
        return True
    if silence <= GONE_AFTER_S:
        return False
    job = held.get("job")
    return not held or bool(job and (job == slurm_job() or ran_out(job)))


def _silence(path: Path) -> float:
    """Seconds since the last heartbeat, both ends by the file system's clock."""
    now = time.time()
    for _ in range(10):
        probe = path.with_name(f".{uuid4().hex}.probe")
        try:
            probe.touch()
            now = probe.stat().st_mtime
            probe.unlink(missing_ok=True)
            break
        except FileNotFoundError:  # whoever works on the cell has tidied up
            continue
        except OSError:  # somebody who may only look
            break
    return now - path.stat().st_mtime
