"""How many cores this process may use."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OF_PROCESS = Path("/proc/self/cgroup")


def cores() -> int:
    """Return how many cores this process may run on, or fewer where its container has a quota.

    A quota of 2.5 cores counts as 2: a third thread would have to stop for half of the time.
    """
    usable = getattr(os, "sched_getaffinity", None)
    count = len(usable(0)) if usable else os.cpu_count() or 1
    return max(1, min([count, *map(int, _quotas())]))


def _quotas() -> Iterator[float]:
    """The quotas, in cores, of the control groups that hold this process."""
    try:
        lines = OF_PROCESS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for number, kinds, place in (line.split(":", 2) for line in lines):
        if number != "0" and "cpu" not in kinds.split(","):
            continue
        top = GROUPS if number == "0" else GROUPS / "cpu"
        # in a container the groups above its own are not there
        own = top / place.lstrip("/")
        for folder in (own, *own.parents):
            with suppress(OSError, ValueError):  # "max" is no quota
                if number == "0":
                    quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
                else:
                    quota, period = (
                        (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8")
                        for name in ("quota", "period")
                    )
                if int(quota) > 0:
                    yield int(quota) / int(period)
            if folder == top:
                break
