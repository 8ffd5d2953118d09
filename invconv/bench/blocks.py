"""One block for what is compared: timed together, in several processes, with its ratios."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import pandas as pd
import torch

from invconv.bench.clock import Clock, Timed
from invconv.bench.gpu_tools import check_alone
from invconv.bench.memory import keep_freed_memory
from invconv.bench.quiet import conditions, usage
from invconv.bench.ratios import Ratio, expand, intervals, summaries
from invconv.rows import Block, Part, Status, Values
from invconv.rows.samples import COLUMNS
from invconv.rows.status import classify, describe, is_refusal

C = TypeVar("C")
POLICY = "OMP_WAIT_POLICY"


@dataclass(frozen=True)
class Process:
    """One of the processes in which a block is timed.

    Attributes:
        number: 0 for the first, the only one that verifies.
        failed: the parts that the first one has refused, which are not timed.
    """

    number: int = 0
    failed: frozenset[str] = frozenset()

    @property
    def first(self) -> bool:
        """Whether it is the one that verifies."""
        return self.number == 0


@dataclass(frozen=True)
class Measured:
    """What was timed in one process.

    Attributes:
        timed: calls by name, ``part/call`` where the cell has parts; one for each set of rounds.
        values: of the whole cell.
        parts: by name, with those that failed.
    """

    timed: Sequence[Timed]
    values: Values = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)


def time_block(
    measure: Callable[[C, torch.device, Process], Measured],
    config: C,
    device: torch.device,
    clock: Clock,
    ratios: Callable[[pd.DataFrame], Iterable[Ratio]] | Iterable[Ratio] = (),
    among: int = 1,
    fresh: bool | None = None,
) -> Block:
    """Time a block in fresh processes and compute its ratios.

    On a GPU, and for a single process that waits actively (without OMP_WAIT_POLICY=passive, with
    which training runs), it is this one, unless ``fresh``; everywhere if ``fresh`` is False.

    Args:
        measure: what each process calls, a function of a module.
        clock: with the number of processes, one after the other.
        ratios: what is divided, or a function of all samples that says so.
        among: how many ratios the page compares.

    Returns:
        For each call its median and quartiles, over all processes, and the ratios with their
        intervals; values of the first process; conditions; all samples.

    Raises:
        Busy: if another process computes on the GPU.
    """
    check_alone(device)
    before, here = usage(), device.type != "cpu" or fresh is False
    spins = os.environ.get(POLICY, "").lower() != "passive"
    found: list[Measured] = []
    for number in range(1 if here else clock.processes):
        failed = {name for one in found for name, p in one.parts.items() if p.status != Status.OK}
        process = Process(number, frozenset(failed))
        if here or (clock.processes == 1 and spins and not fresh):
            found.append(_measure(measure, config, device, process))
        else:
            found.append(_in_child(measure, config, device, process))
    timed = [(number, one) for number, each in enumerate(found) for one in each.timed]
    frames = [one.samples.assign(process=number) for number, one in timed]
    samples = pd.concat([pd.DataFrame(columns=COLUMNS), *frames], ignore_index=True)[COLUMNS]
    samples = samples.astype({"process": int, "round": int, "quiet": bool, "seconds": float})
    rules = ratios(samples) if callable(ratios) else ratios
    pairs = expand(rules, samples["call"].unique())
    noisy = next((one.noisy for _, one in timed if one.noisy), "")
    foreign = [one.foreign_cpu for _, one in timed if one.foreign_cpu is not None]
    parts = {name: replace(p, values=dict(p.values)) for name, p in found[0].parts.items()}
    values: Values = dict(found[0].values)

    def of(name: str) -> Values:
        part = parts.get(name.rpartition("/")[0])
        return values if part is None else part.values

    for call, times in summaries(samples).items():
        of(call).update(times)
    for name, interval in intervals(samples, pairs, among).items():
        of(name).update(interval.values(name.rpartition("/")[2]))
    values |= {
        "processes": len(found),
        "rounds": int(samples.groupby(["process", "call"]).size().max()) if len(samples) else 0,
        "compared": among,
        "discarded_windows": sum(one.discarded for _, one in timed),
        "foreign_cpu": max(foreign, default=None),
        **conditions(before),
    }
    if noisy and clock.allow_noisy:
        values["noisy"] = True
    return Block(values, parts, samples, "" if clock.allow_noisy else noisy)


def guarded_parts(
    labels: Mapping[str, Values], process: Process, make: Callable[[str], Values]
) -> dict[str, Part]:
    """Return the parts named in ``labels`` but those that the first process has refused.

    Each has its labels and what ``make`` returns of its name, or why that failed.

    Raises:
        Exception: what ``make`` raises of a part that cannot be begun, such as an unknown name.
    """
    parts: dict[str, Part] = {}
    for name in (name for name in labels if name not in process.failed):
        try:
            parts[name] = Part(labels[name], make(name))
        except Exception as error:
            if is_refusal(error):
                raise
            parts[name] = Part(labels[name], {}, classify(error), describe(error))
    return parts


def _measure(
    measure: Callable[[C, torch.device, Process], Measured],
    config: C,
    device: torch.device,
    process: Process,
) -> Measured:
    kept = keep_freed_memory(device)
    found = measure(config, device, process)
    return replace(found, values={**found.values, "memory_kept": kept})


def _in_child(
    measure: Callable[[C, torch.device, Process], Measured],
    config: C,
    device: torch.device,
    process: Process,
) -> Measured:
    """The same in a fresh process, which may spin where it waits for its threads."""
    fresh = multiprocessing.get_context("spawn")
    threads = (torch.get_num_threads(),)
    with _active_waiting(), ProcessPoolExecutor(1, fresh, torch.set_num_threads, threads) as pool:
        return pool.submit(_measure, measure, config, device, process).result()


@contextmanager
def _active_waiting() -> Iterator[None]:
    before = os.environ.pop(POLICY, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[POLICY] = before
