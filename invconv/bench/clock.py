"""One clock for everything that is timed: rounds of all calls, in quiet windows."""

import gc
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import pandas as pd
import torch

from invconv.bench.quiet import BUSY, usage

Call = Callable[[], object]
FEW = 6
"""The rounds in which a slow call takes part; with six pairs a median has a 95 % interval."""
SLOW = 1.0
"""Seconds of a call above which it is slow."""
REPEATS = 3
"""How often a window is repeated if others computed in it."""


@dataclass
class Clock:
    """How a block is timed; part of the configuration of a sweep.

    Attributes:
        rounds: how many, at least 1.
        warmup: how often each call is made before.
        processes: in how many the block is repeated, on a CPU.
        window: seconds of a window in which nothing else may compute; 0 for no check.
        allow_noisy: whether a cell counts, marked as noisy, although others computed meanwhile.
    """

    rounds: int = 20
    warmup: int = 2
    processes: int = 1
    window: float = 1.0
    allow_noisy: bool = field(default=False, metadata={"identity": "neutral"})


@dataclass(frozen=True)
class Timed:
    """What `time_calls` measured.

    Attributes:
        samples: a line for each repeat of each call: call, round, window, quiet, and seconds.
        foreign_cpu: CPU time of others, in cores, in the busiest window that counts; None where
            the system does not tell.
        discarded: how many windows were repeated.
        noisy: one sentence if a window did not become quiet, otherwise "".
    """

    samples: pd.DataFrame
    foreign_cpu: float | None
    discarded: int
    noisy: str


def time_calls(
    calls: Mapping[str, Call],
    device: torch.device,
    clock: Clock,
    *,
    few: Collection[str] = (),
    before: Callable[[str], object] = lambda name: None,
    seed: int = 0,
) -> Timed:
    """Time ``calls`` in rounds, so that what changes on the machine falls on all of them alike.

    Every call is warmed up before any is timed, and each round has its own random order, since
    what ran before a call can change its time by a fifth. A call that takes more than a second
    and those in ``few`` are part of `FEW` rounds, evenly spread, and slow ones are warmed up
    once. On a GPU each repeat is measured by CUDA events after the L2 cache was overwritten; on
    a CPU by `time.perf_counter`. The garbage collector is off in between.

    Rounds are judged in windows of at least a second, which fast calls fill with more rounds. If
    others computed in a window for more than 5 % of one core, its rounds are repeated, at most
    three times; after that all further windows count as they are.

    Args:
        calls: by name.
        few: names of calls that are as rarely timed as slow ones.
        before: is given the name of each call before it begins, outside the clock.
        seed: of the orders.

    Raises:
        ValueError: if ``clock.rounds`` is below 1.
    """
    rounds, window = clock.rounds, clock.window
    if rounds < 1:
        raise ValueError(f"clock.rounds must be at least 1, not {rounds}")
    measure = cuda_clock(device) if device.type == "cuda" else cpu_clock
    costs: dict[str, float] = {}
    for number in range(clock.warmup):
        for name in (name for name in calls if not number or costs[name] <= SLOW):
            before(name)
            cost = measure(calls[name])
            costs[name] = min(cost, costs.get(name, cost))
    rare = {name for name in calls if name in few or costs.get(name, 0.0) > SLOW}
    theirs = {round(i * rounds / FEW) for i in range(FEW)} if rounds > FEW else set(range(rounds))
    order, todo, further = random.Random(seed), deque(range(rounds if calls else 0)), count(rounds)
    lines: list[tuple[str, int, int, bool, float]] = []
    tried, discarded, windows, worst, noisy = 0, 0, 0, 0.0, ""
    told = True
    with _collector_off():
        while todo:
            start, numbers, found = usage(), list[int](), list[tuple[str, int, float]]()
            while not numbers or time.monotonic() - start.wall < window:
                numbers.append(todo.popleft() if todo else next(further))
                names = [name for name in calls if name not in rare or numbers[-1] in theirs]
                for name in order.sample(names, len(names)):
                    before(name)
                    found.append((name, numbers[-1], measure(calls[name])))
            foreign = usage().foreign(start)
            told &= foreign is not None and window > 0
            quiet = foreign is None or foreign <= BUSY or window <= 0
            if not quiet and not noisy:
                if tried < REPEATS:
                    tried, discarded = tried + 1, discarded + 1
                    todo.extendleft(n for n in reversed(numbers) if n < rounds)
                    continue
                noisy = (
                    f"other processes used {foreign:.2f} cores while it was timed, also when "
                    f"that was repeated {REPEATS} times"
                )
            tried, worst = 0, max(worst, foreign or 0.0)
            lines += [(name, n, windows, quiet, seconds) for name, n, seconds in found]
            windows += 1
    columns = ["call", "round", "window", "quiet", "seconds"]
    samples = pd.DataFrame(lines, columns=columns)
    return Timed(samples, round(worst, 3) if told else None, discarded, noisy)


def medians(
    calls: Mapping[str, Call], device: torch.device, rounds: int = 20, warmup: int = 2
) -> dict[str, float]:
    """Return the median seconds of each call, without a look at what else computes."""
    timed = time_calls(calls, device, Clock(rounds, warmup, window=0))
    found = timed.samples.groupby("call")["seconds"].median()
    return {name: float(found[name]) for name in calls}


@contextmanager
def _collector_off() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def cpu_clock(call: Call) -> float:
    """Seconds of one call by the clock on the wall."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def cuda_clock(device: torch.device) -> Callable[[Call], float]:
    """Return a clock of CUDA events around one call, after the L2 cache was overwritten.

    The device is idle when the cache begins to be overwritten, and nothing waits between that
    and the first event: the host launches ``call`` while the device is still writing, so that
    the time of the launch is not measured.
    """
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    flush = torch.empty(2 * cache, dtype=torch.uint8, device=device)

    def clock(call: Call) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        with torch.cuda.device(device):  # events belong to the current device's stream
            flush.zero_()
            start.record()
            call()
            end.record()
        torch.cuda.synchronize(device)
        return start.elapsed_time(end) / 1000

    return clock
