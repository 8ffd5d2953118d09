"""What the solvers keep of a weight that stays the same."""

from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")


class Kept:
    """What is made of one weight, with one geometry, and used again: packed or folded taps.

    It belongs to whoever knows that the weight does not change, as a layer in eval mode does.
    Nothing is made at the first use, since many weights have no second one.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, object] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T | None:
        """None at the first call with a key, afterwards what ``make`` returned at the second."""
        found = self._made.get(key, _UNSEEN)
        if found is _UNSEEN:
            self._made[key] = _SEEN
            return None
        if found is _SEEN:
            found = self._made[key] = make()
        return found  # type: ignore[return-value]


_UNSEEN, _SEEN = object(), object()
