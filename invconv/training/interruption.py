"""Signals that ask a training run to stop: at the next step, with a checkpoint."""

import signal
import threading
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)


class Interruption:
    """While it is entered, notes SIGTERM, SIGUSR2 and SIGHUP instead of dying of them.

    Whoever notices ``signal`` saves its work and calls `pass_on`: the handlers that were there
    before come back and get the signal, so that a scheduler's own (submitit's requeues the job)
    or the default (the process ends) decide what happens. Outside of the main thread, where no
    handler can be installed, nothing is noted.

    Attributes:
        signal: the number of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def pass_on(self) -> None:
        """Hands the signal that came to whoever handled it before; returns if that ignores it."""
        if self.signal is not None:
            number, self.signal = self.signal, None
            self.__exit__()
            signal.raise_signal(number)
            self.__enter__()

    def _note(self, number: int, _: FrameType | None) -> None:
        self.signal = number
