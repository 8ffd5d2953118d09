"""What a launch should cost: a model by which plans are ranked, not a time that is reported.

The constants were fixed before the streaming plan was written; rows of a GPU will fit them.
"""

import math
from dataclasses import dataclass

from invconv.solvers.cuda.plan import Chip, SizedProblem

SCHEDULERS = 4
"""Of a multiprocessor; each issues one instruction of one warp in a cycle."""
PRODUCT_CYCLES = 4
"""From a fused multiply-add to one that needs its result."""
STEP_CYCLES = 130
"""A step without products: barrier, a load from shared memory, a store."""
ROW_INSTRUCTIONS = 25
"""Of a step for one row, besides multiply-adds and loads: indices, bounds, branches. Counted in
the machine code for sm_90 of FInC with C = 12, 24 and 48, CInC and Emerging (23 to 25)."""
LOOP_INSTRUCTIONS = 40
"""The same for one vector of channels, where the taps are in memory."""
MEMORY_CYCLES = 700
"""A trip to global memory."""
BYTES_PER_CYCLE = 16
"""Of global memory, the share of one multiprocessor."""
LAUNCH_CYCLES = 3000


@dataclass(frozen=True)
class Step:
    """The work of one thread between two barriers.

    Attributes:
        products: multiply-adds.
        chains: sums that they go to, independent of each other.
        loads: vectors read from shared memory.
        others: other instructions.
    """

    products: int
    chains: int
    loads: int
    others: int

    def cycles(self, warps: float) -> float:
        """Cycles of a step with so many active warps on a multiprocessor."""
        ahead = min(self.chains, PRODUCT_CYCLES)
        alone = STEP_CYCLES + PRODUCT_CYCLES * self.products / ahead + self.loads
        issued = (self.products + self.loads + self.others) / SCHEDULERS
        return max(alone, warps * max(issued, 2 * self.loads))


def fold_cycles(g: SizedProblem, threads: int) -> float:
    """Cycles in which so many threads fold the taps of one group.

    A column is a substitution in double: each channel waits for a division, and for one product
    and one load after the other with the channels before it.
    """
    one = 10 * g.channels**2 + 150 * g.channels + MEMORY_CYCLES
    return math.ceil(g.folded_columns / threads) * one


def moved_cycles(g: SizedProblem, pixels: int) -> float:
    """Cycles in which one multiprocessor reads or writes so many pixels."""
    return pixels * g.channels * g.size / BYTES_PER_CYCLE


def waves(chip: Chip, blocks: int, held: int) -> tuple[int, int]:
    """Return how many blocks a multiprocessor has at a time, and how often it takes new ones."""
    here = min(held, math.ceil(blocks / chip.multiprocessors))
    return here, math.ceil(blocks / (held * chip.multiprocessors))
