"""The inverse in launches: by tiles or by streams of rows, whichever should cost less."""

from functools import lru_cache

from invconv.solvers.cuda.plan import UNFORCED, Chip, Forced, Plan, SizedProblem
from invconv.solvers.cuda.streaming import plan_streams
from invconv.solvers.cuda.tiles import plan_tiles


@lru_cache(maxsize=1024)
def plan_solve(g: SizedProblem, chip: Chip, forced: Forced = UNFORCED) -> Plan:
    """The inverse of a problem on a chip.

    Raises:
        ValueError: if no plan fits the chip, which takes thousands of channels per group.
    """
    tiled = forced.streamed is False or forced.window_in_shared is not None
    streams = None if tiled else plan_streams(g, chip, forced)
    tiles = None if forced.streamed else plan_tiles(g, chip, forced)
    plans = [plan for plan in (streams, tiles) if plan is not None]
    if not plans:
        raise ValueError(
            f"no CUDA plan for {g.channels} channels per group and a kernel of "
            f"{g.kernel[0]}x{g.kernel[1]} taps; use method='wavefront'"
        )
    return min(plans, key=lambda plan: plan.cycles)
