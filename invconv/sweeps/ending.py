"""How a sweep ends: stopped by a signal or not, with what became of its cells."""

import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from invconv.rows import RowsError, Status, block_of, collect, newest
from invconv.sweeps import states

if TYPE_CHECKING:
    from invconv.sweeps.application import Application
    from invconv.sweeps.cells import Cell

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked the sweep to end; its number is the argument."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise `Stopped` inside where SIGTERM or SIGHUP would end the process without a word.

    A signal that somebody ignores (``nohup``) or handles is left to that, and outside of the main
    thread nothing is changed. Processes that time a block are ended: whoever waits for them would
    not see the signal.
    """

    def stop(number: int, _: FrameType | None) -> None:
        for child in multiprocessing.active_children():
            child.terminate()
        raise Stopped(number)

    main = threading.current_thread() is threading.main_thread()
    mine = [n for n in SIGNALS if main and signal.getsignal(n) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def finish(table: "Application", cells: "Mapping[str, Cell]", stopped: bool) -> int:
    """Wait for cells of other sweeps, collect, and say what is not ok; 0 if every cell is.

    A sweep that was ``stopped`` does not wait. Where no cell has a row nothing is collected.
    """
    first = next(iter(cells.values()))
    runs, results = first.folder.parent, Path(first.config.results)
    with suppress(KeyboardInterrupt):
        if not stopped:
            states.wait_for_others(runs, list(cells))
    try:
        done = states.collected(table.name, first.config)
        found = {cell: states.state(runs, cell) for cell in cells if cell not in done}
        rows = done or any(one.status in list(Status) for one in found.values())
        if rows:
            path = results / "data" / f"{table.name}.csv"
            every = newest(collect(runs, path, table.name, table.write_page))
            own = every[block_of(every["cell"]).isin(list(cells))].sort_values("date")
            own = own[own["machine"].isin(own["machine"].tail(1))]
            if text := str(table.brief(own)) if len(own) else "":
                print(f"\n{text}\n", flush=True)
    except RowsError as error:
        print(f"{table.name}: nothing was collected: {error}", file=sys.stderr)
        return 1
    bad = {cell: state for cell, state in found.items() if state.status != Status.OK}
    ok = f"{len(cells) - len(bad)} of {len(cells)} cells ok"
    where = f"the table is in {results / table.name}.md" if rows else "nothing was collected"
    print(f"{ok}; {where}", flush=True)
    for cell, state in _together(bad).items():
        print(f"  {cell}: {state}", file=sys.stderr, flush=True)
    if stopped:
        print(f"{table.name} was interrupted: the same command resumes it", flush=True)
    return 1 if bad else 0


def _together(cells: Mapping[str, states.State]) -> dict[str, states.State]:
    """Cells that were refused for the same reason as one: "a, b and 8 more"."""
    groups: dict[tuple[str, states.State], list[str]] = {}
    for cell, state in cells.items():
        groups.setdefault(("" if state.status == "refused" else cell, state), []).append(cell)
    found = {}
    for (_, state), names in groups.items():
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        found[", ".join(names[:2]) + more] = state
    return found
