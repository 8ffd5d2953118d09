"""Where a number comes from: machine, versions and commit."""

import os
import platform
import subprocess
from functools import lru_cache
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
    """The GPU's name, or the processor's with the number of cores that may be used.

    Raises nothing where there is no such GPU: what a measurement says of that is the row's reason.
    """
    if device.type == "cuda":
        try:
            return str(torch.cuda.get_device_name(device))
        except (AssertionError, RuntimeError):
            return "no CUDA device"
    return f"{processor()}, {_cores()} cores"


def machine() -> str:
    """The name under which rows of one machine are merged: $INVCONV_MACHINE, or its hardware."""
    name = os.environ.get("INVCONV_MACHINE")
    if name:
        return name
    hardware = [device_name(torch.device("cpu"))]
    if torch.cuda.is_available():
        hardware.append(f"{torch.cuda.device_count()}x {torch.cuda.get_device_name(0)}")
    return " + ".join(hardware)


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


@lru_cache(maxsize=1)
def processor() -> str:
    """The processor's model name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def revision() -> tuple[str, bool]:
    """The commit and whether the tree differs from it, `results/` and README.md aside.

    Sweeps write into those, and no number depends on them. Read once per process, so that a run
    that lasts hours reports the code that it loaded. Where there is no git, $INVCONV_COMMIT names
    the commit.
    """
    if (ROOT / ".git").exists():
        try:
            commit = _git("rev-parse", "--short=10", "HEAD")
            return commit, bool(_git("status", "--porcelain", "--", ".", *GENERATED))
        except (OSError, subprocess.CalledProcessError):
            pass
    given = os.environ.get("INVCONV_COMMIT")
    return (given, False) if given else ("unknown", True)


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
