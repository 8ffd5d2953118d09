"""Cells in processes of this machine, through submitit."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress

import submitit

from invconv.cores import cores
from invconv.sweeps.cells import Cell

PATIENCE_S = 20.0
"""How long a process that is told to end has for its checkpoint."""


@contextmanager
def shared_cores(most: int) -> Iterator[None]:
    """Each of ``most`` processes that start inside computes with its share of the cores."""
    name = "OMP_NUM_THREADS"
    if most == 1 or name in os.environ:
        yield
        return
    os.environ[name] = str(max(1, cores() // most))
    try:
        yield
    finally:
        del os.environ[name]


def ended(
    executor: submitit.AutoExecutor, call: Callable[..., object], cells: Iterable[Cell], most: int
) -> Generator[str]:
    """Run cells in processes of their own, ``most`` at a time; yields the name of each that ends.

    If this process is told to end meanwhile, they end with their checkpoints.
    """
    waiting, running = deque(cells), dict[str, submitit.Job[object]]()
    try:
        with shared_cores(most):
            while waiting or running:
                for name in [name for name, job in running.items() if job.done()]:
                    del running[name]
                    yield name
                while waiting and len(running) < most:
                    cell = waiting.popleft()
                    running[cell.name] = executor.submit(call, *cell.arguments)
                time.sleep(0.2)
    except (KeyboardInterrupt, GeneratorExit):
        for job in running.values():
            with suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)  # it passes the signal on
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and not all(job.done() for job in running.values()):
            time.sleep(0.1)
        for job in running.values():
            if not job.done():
                job.cancel()
        raise
