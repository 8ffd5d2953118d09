"""Somebody else's code in a process of its own, with limits on time, memory and output."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from invconv.rows import Incorrect, Status
from invconv.rows.status import classify, describe

CHILD = "from invconv.bench.limited import child; child()"


class Refused(ValueError):
    """What the child says in a whole sentence."""


@dataclass(frozen=True)
class Limits:
    """What a child may use: seconds, bytes of memory, and bytes that it prints."""

    seconds: float = 60
    memory: int = 4 << 30
    printed: int = 16 << 20


def in_child(
    function: str, arguments: Sequence[str | int], limits: Limits | None = None
) -> tuple[Status, str, Any]:
    """Call a function in a child, and return a status, a reason, and what the function returned.

    Whatever it does, this ends within the limits: too much printed, memory or time, a crash, or
    an exit are reasons like any other.

    Args:
        function: "package.module:name"; it returns what JSON can hold.
        arguments: of the function.
    """
    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="invconv-") as folder:
        report, said = Path(folder, "report.json"), Path(folder, "printed")
        given = json.dumps([function, list(arguments), str(report), asdict(limits)])
        with said.open("wb") as printed:
            run = subprocess.Popen(
                [sys.executable, "-c", CHILD, given],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = run.wait(limits.seconds)
            except subprocess.TimeoutExpired:
                return Status.TIMEOUT, f"it did not end within {limits.seconds:g} s", {}
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(run.pid, signal.SIGKILL)  # and whatever it has started
                run.wait()
        if said.stat().st_size >= limits.printed:
            return Status.ERROR, f"it printed more than {limits.printed / 1e6:.0f} MB", {}
        if report.exists():
            status, reason, values = json.loads(report.read_text(encoding="utf-8"))
            return Status(status), reason, values
    ending = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return Status.ERROR, f"it ended its process {ending}", {}


def child() -> None:
    """What the child does: write into a report what the function of its last argument returns."""
    function, arguments, report, allowed = json.loads(sys.argv[-1])
    limits = Limits(**allowed)
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.printed, limits.printed))
    module, _, name = function.partition(":")
    status, reason, values = Status.OK, "", None
    try:
        values = getattr(import_module(module), name)(*arguments)
        json.dumps(values)
    except BaseException as error:  # also what it raises to end the process
        known = error if isinstance(error, Exception) else RuntimeError(f"it raised {error!r}")
        status, reason, values = classify(known), describe(known), None
        if isinstance(error, Refused | Incorrect | FileNotFoundError):
            reason = str(error)
        if status == Status.OOM:
            reason = f"it needs more than {limits.memory / 2**30:g} GB of memory"
    Path(report).write_text(json.dumps([status, reason, values]), encoding="utf-8")
    os._exit(0)  # threads that it has left do not count
