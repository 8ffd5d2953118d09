"""One clock for everything that is timed."""

import gc
import os
import random
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from invconv.rows import Values


@dataclass(frozen=True)
class Timing:
    """Repeated measurements of one call, in seconds: median, quartiles, and how many."""

    median: float
    q25: float
    q75: float
    repeats: int

    def values(self, name: str) -> Values:
        """A row's values: ``name_s``, ``name_q25_s`` and ``name_q75_s``."""
        name = name.replace(" ", "_").replace("-", "_")
        parts = {"": self.median, "_q25": self.q25, "_q75": self.q75}
        return {f"{name}{part}_s": seconds for part, seconds in parts.items()}


def row_values(times: Mapping[str, Timing]) -> Values:
    """The `Timing.values` of all ``times``, by their names."""
    return {key: value for name, one in times.items() for key, value in one.values(name).items()}


def spread(one: Timing, again: Timing) -> float:
    """A/A: |1 − ratio| of two timings of the same call."""
    return abs(1 - again.median / one.median)


def time_interleaved(
    calls: Mapping[str, Callable[[], object]],
    device: torch.device,
    warmup: int = 2,
    repeats: int = 10,
    before: Callable[[str], object] = lambda name: None,
) -> dict[str, Timing]:
    """Time ``calls`` in rounds, so that drift of the machine falls on all of them alike.

    Every call is warmed up before any is timed, and each round has its own random order, since
    what ran before a call can change its time by a fifth. On a GPU each repeat is measured by
    CUDA events after the L2 cache was overwritten; on a CPU by `time.perf_counter`. The garbage
    collector is off in between. ``before`` is given the name of each call before it begins,
    outside the clock.

    Raises:
        Busy: if another process computes on the GPU, before or after.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    check_alone(device)
    clock = _cuda_clock(device) if device.type == "cuda" else _cpu_clock
    for _ in range(warmup):
        for name, call in calls.items():
            before(name)
            call()
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order, collecting = random.Random(0), gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name in order.sample(list(calls), len(calls)):
                before(name)
                samples[name].append(clock(calls[name]))
    finally:
        if collecting:
            gc.enable()
    check_alone(device)
    return {name: summarize(values) for name, values in samples.items()}


def summarize(seconds: list[float]) -> Timing:
    """Median and quartiles."""
    q25, median, q75 = np.quantile(seconds, [0.25, 0.5, 0.75]).tolist()
    return Timing(median, q25, q75, len(seconds))


def _cpu_clock(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _cuda_clock(device: torch.device) -> Callable[[Callable[[], object]], float]:
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    flush = torch.empty(2 * cache, dtype=torch.uint8, device=device)

    def clock(call: Callable[[], object]) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        flush.zero_()
        torch.cuda.synchronize(device)
        with torch.cuda.device(device):  # events belong to the current device's stream
            start.record()
            call()
            end.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(end) / 1000

    return clock


class Busy(RuntimeError):
    """Another process computes on the GPU, so that no time means anything."""


def gpu_processes(device: torch.device) -> dict[int, str]:
    """The processes that compute on a GPU, by number, as the driver reports them.

    None, with a warning, where the driver's tool is missing or does not answer.
    """
    name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    command = ["nvidia-smi", f"--id={name}", "--query-compute-apps=pid,process_name"]
    command += ["--format=csv,noheader"]
    quiet = subprocess.DEVNULL
    try:
        listed = subprocess.check_output(command, text=True, timeout=60, stderr=quiet)
    except (OSError, subprocess.SubprocessError) as error:
        warnings.warn(f"who else is on {device} cannot be told: {error}", stacklevel=2)
        return {}
    pairs = (line.partition(",") for line in listed.splitlines())
    return {int(pid): process.strip() for pid, _, process in pairs if pid.strip().isdigit()}


def check_alone(device: torch.device) -> None:
    """Raise Busy if another process computes on the GPU ``device``; a CPU is not checked.

    In a container with its own process numbers the driver's differ; there the only process that
    is listed counts as this one.
    """
    others = gpu_processes(device) if device.type == "cuda" else {}
    unlisted = others.pop(os.getpid(), None) is None
    if len(others) > (1 if unlisted else 0):
        pid, name = next(iter(others.items()))
        raise Busy(
            f"nothing is timed: {len(others)} other processes compute on {device}, first {name} "
            f"({pid}); ask for a GPU of one's own (hydra.launcher.gpus_per_node=1, or "
            "launch.exclusive=true)"
        )
