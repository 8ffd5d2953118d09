"""One module per table or figure."""

import importlib
import os
from collections.abc import Callable
from typing import NoReturn

from invconv.terminal import terminal


def main(table: str) -> NoReturn:
    """What ``python reproductions/<table>.py`` does; it exits with the sweep's code.

    Threads that wait for each other sleep, unless the environment says otherwise: where other
    processes compute, training is many times slower with threads that spin. What is timed runs in
    processes of its own, without this.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read once, when torch is imported
    with terminal():
        run: Callable[[], NoReturn] = importlib.import_module(f"invconv.tables.{table}").TABLE.main
        run()
