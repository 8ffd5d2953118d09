"""Where a number comes from: machine, versions and commit."""

import os
import platform
import re
import subprocess
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path

import torch

from invconv.rows.row import Values, now
from invconv.solvers.compiled import instruction_set

ROOT = Path(__file__).resolve().parents[2]
GENERATED = (":!results", ":!README.md")


def provenance(device: torch.device) -> Values:
    """What a row says about the run that made it."""
    commit, dirty = revision()
    return {
        "device": device_name(device),
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "isa": instruction_set(),
        "tf32": device.type == "cuda"
        and (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
        "commit": commit,
        "dirty": dirty,
        "date": now(),
    }


def device_name(device: torch.device) -> str:
    """The GPU's name, if there is one, or the processor's with the number of usable cores."""
    if device.type == "cuda":
        with suppress(AssertionError, RuntimeError):
            return str(torch.cuda.get_device_name(device))
        return "no CUDA device"
    usable = getattr(os, "sched_getaffinity", None)
    return f"{processor()}, {len(usable(0)) if usable else os.cpu_count() or 1} cores"


def machine() -> str:
    """The name under which rows of one machine are merged: $INVCONV_MACHINE, or its hardware."""
    if name := os.environ.get("INVCONV_MACHINE"):
        return name
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    more = f" + {gpus}x {torch.cuda.get_device_name(0)}" if gpus else ""
    return device_name(torch.device("cpu")) + more


@lru_cache(maxsize=1)
def processor() -> str:
    """The processor's model name."""
    with suppress(OSError):
        if name := re.search(r"(?m)^model name.*?:(.*)$", Path("/proc/cpuinfo").read_text()):
            return name[1].strip()
    return platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def revision() -> tuple[str, bool]:
    """The commit and whether the tree differs from it, `results/` and README.md aside.

    Read once per process, so that a run that lasts hours reports the code that it loaded. Where
    there is no git, $INVCONV_COMMIT names the commit.
    """
    asked = ("rev-parse", "--short=10", "HEAD"), ("status", "--porcelain", "--", ".", *GENERATED)
    if (ROOT / ".git").exists():
        with suppress(OSError, subprocess.CalledProcessError):
            git = partial(subprocess.check_output, text=True, stderr=subprocess.DEVNULL)
            commit, changes = (git(["git", "-C", ROOT, *words]).strip() for words in asked)
            return commit, bool(changes)
    given = os.environ.get("INVCONV_COMMIT")
    return (given, False) if given else ("unknown", True)
