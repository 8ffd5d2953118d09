"""Whether anything else computes while something is timed."""

import os
import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from invconv.rows import Values

BUSY = 0.05
"""Foreign CPU time, in cores, above which a window of rounds is repeated."""
_STAT = Path("/proc/stat")
_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ, _STEAL = 0, 1, 2, 5, 6, 7  # fields of /proc/stat, proc(5)


@dataclass(frozen=True)
class Usage:
    """CPU seconds since some moment, of the cores that this process may use.

    Attributes:
        wall: seconds of the clock on the wall.
        busy: of all processes, interrupts included; None where the system does not tell.
        steal: what the hypervisor gave to others.
        own: of this process and of its children that have ended.
        switches: how often these lost a core without asking.
    """

    wall: float
    busy: float | None
    steal: float
    own: float
    switches: int

    def foreign(self, before: "Usage") -> float | None:
        """CPU time of others since ``before``, steal included, in cores; None if unknown."""
        if self.busy is None or before.busy is None or self.wall <= before.wall:
            return None
        others = self.busy - before.busy - (self.own - before.own)
        return max(0.0, others + self.steal - before.steal) / (self.wall - before.wall)


def usage() -> Usage:
    """Read the counters; those of the system advance in steps of 10 ms."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own = sum(one.ru_utime + one.ru_stime for one in spent)
    busy, steal = _counters()
    switches = sum(one.ru_nivcsw for one in spent)
    return Usage(time.monotonic(), busy, steal, own, switches)


def _counters() -> tuple[float | None, float]:
    with suppress(OSError, ValueError, IndexError, AttributeError):
        cores = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        lines = [line.split() for line in _STAT.read_text(encoding="utf-8").splitlines()]
        ticks = [[int(text) for text in fields[1:]] for fields in lines if fields[0] in cores]
        second = os.sysconf("SC_CLK_TCK")
        busy = sum(t[i] for t in ticks for i in (_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ))
        return (busy / second, sum(t[_STEAL] for t in ticks) / second) if ticks else (None, 0.0)
    return None, 0.0


def busy_machine(seconds: float = 1.0) -> str:
    """Watch the machine for a moment; one sentence if others compute on it, otherwise ""."""
    before = usage()
    time.sleep(seconds)
    found = usage().foreign(before)
    if found is None or found <= BUSY:
        return ""
    return (
        f"other processes use {found:.1f} of {len(os.sched_getaffinity(0))} cores: what is timed "
        "now ends as noisy, so stop them first"
    )


def conditions(before: Usage) -> Values:
    """What a row says of the machine since ``before``: load, steal, switches and clock."""
    after = usage()
    values: Values = {
        "steal_s": round(after.steal - before.steal, 3),
        "involuntary_switches": after.switches - before.switches,
    }
    with suppress(OSError):
        values["load_average"] = round(os.getloadavg()[0], 2)
    with suppress(OSError, ValueError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        clocks = [float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz")]
        if clocks:
            values["clock_mhz"] = round(sum(clocks) / len(clocks))
    return values
