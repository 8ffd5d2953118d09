"""The taps of the inverse, by either plan: where they are, and who folds them."""

import math
from typing import Protocol

from invconv.solvers.cuda.plan import (
    GROUPS_PER_LAUNCH,
    Forced,
    Launch,
    Options,
    SizedProblem,
    round_up,
)

REGISTERS, SHARED, GLOBAL = 0, 1, 2
"""Where they are."""
IN_REGISTERS = {4: 96, 8: 40}
"""How many numbers of taps a thread's registers hold, by the bytes of a number."""
FOLD_THREADS = 64
FUSED_CHANNELS = 16
"""Up to so many channels per group each block folds the anchor itself: no second launch."""


class Thread(Protocol):
    """What a thread of the solve owns, channels and rows, and where its taps come from."""

    @property
    def outputs(self) -> int:
        """Channels."""

    @property
    def rows(self) -> int:
        """Rows."""

    @property
    def taps_in(self) -> int:
        """`REGISTERS`, `SHARED` or `GLOBAL`."""

    @property
    def folded(self) -> bool:
        """Whether a launch in front folds."""


def folds_before(g: SizedProblem, taps_in: int, forced: Forced, tiled: bool = False) -> bool:
    """Whether a launch in front folds, not each block for itself."""
    if forced.folded is not None:
        return forced.folded or taps_in == GLOBAL
    return g.channels > FUSED_CHANNELS or tiled or taps_in == GLOBAL


def options(g: SizedProblem, thread: Thread) -> Options:
    """The macros that the solve by either plan needs."""
    return (
        *g.options,
        ("OUTPUTS", thread.outputs),
        ("ROWS", thread.rows),
        ("TAPS_IN", thread.taps_in),
        ("FOLDED", int(thread.folded)),
    )


def fold_launches(g: SizedProblem, thread: Thread, fields: dict[str, int]) -> list[Launch]:
    """The launch that folds for the groups of ``fields``; none where each block does."""
    if not thread.folded:
        return []
    blocks = fields["groups"] * math.ceil(g.folded_columns / FOLD_THREADS)
    return [Launch("fold", blocks, FOLD_THREADS, 0, fields)]


def folded_sizes(g: SizedProblem, outputs: int) -> tuple[int, int]:
    """Numbers of the inverse anchor and of the folded taps of one group."""
    depth = g.vectors * g.wide
    taps = g.taps * depth * round_up(g.channels, outputs)
    return round_up(g.channels * depth, 4), round_up(taps, 4)


def workspace(g: SizedProblem, thread: Thread) -> int:
    """Numbers of what the launch in front leaves to the blocks."""
    return sum(folded_sizes(g, thread.outputs)) * min(g.groups, GROUPS_PER_LAUNCH) * thread.folded


def shared_bytes(g: SizedProblem, thread: Thread, pixels: int) -> int:
    """Bytes of shared memory of a block that holds so many numbers of pixels."""
    anchor, taps = folded_sizes(g, thread.outputs)
    if thread.taps_in == SHARED:
        pixels += taps
    elif thread.taps_in == REGISTERS and not thread.folded:
        pixels = max(pixels, taps)  # the taps are there until every thread has its own
    return (anchor + pixels) * g.size
