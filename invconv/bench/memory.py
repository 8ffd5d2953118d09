"""Peak memory of one call, and memory that stays with the process between calls."""

import ctypes
import os
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def peak_extra_bytes(call: Callable[[], object], device: torch.device) -> int | None:
    """Measure how far memory rises while ``call`` runs, its result included.

    On a GPU by torch's allocator; on Linux by the kernel's high-water mark of the process, which
    sees allocations of every library, in pages; None elsewhere.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        # freed memory that the C library still holds would hide what the call takes from it
        getattr(ctypes.CDLL(None), "malloc_trim", lambda size: 0)(0)
        _CLEAR.write_text("5", encoding="utf-8")
        before = _kilobytes("VmRSS")
        result = call()
        peak = _kilobytes("VmHWM")
    except (OSError, KeyError):
        return None
    del result
    return 1024 * max(0, peak - before)


def allocator_peak(call: Callable[[], object], device: torch.device) -> int:
    """Bytes that torch's allocator hands out at most at once while ``call`` runs.

    Unlike `peak_extra_bytes` on a CPU, to the byte and the same each time, but without what
    libraries take for themselves.
    """
    if device.type == "cuda":
        return peak_extra_bytes(call, device) or 0
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would say when it starts and stops
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        call()
    events = [one for one in record.profiler.kineto_results.events() if one.name() == "[memory]"]
    changes = [one.nbytes() for one in sorted(events, key=lambda one: one.start_ns())]
    return max(accumulate(changes, initial=0))


def keep_freed_memory(device: torch.device) -> bool:
    """Let the process keep the memory that it frees: a GPU's by torch, other by glibc.

    By itself glibc maps every block above a threshold, at most 32 MB, and unmaps it when it
    is freed. The activations of a whole model are above it: each pass then faults in and zeroes
    gigabytes, for as long as the arithmetic takes, and where the threshold stands depends on what
    the process has freed before. Returns whether it does.
    """
    if device.type == "cuda":
        return True
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda option, value: 0)
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, -1))


def _kilobytes(name: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="utf-8").splitlines())
    return int(lines[name].split()[0])
