"""The inverse by streams of rows, in one launch: which rows and channels a thread owns."""

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from invconv.solvers.cuda import cost, taps
from invconv.solvers.cuda.plan import (
    UNFORCED,
    Chip,
    Forced,
    Launch,
    Plan,
    SizedProblem,
    blocks_per_multiprocessor,
    group_slices,
    launch_fields,
    round_up,
)
from invconv.solvers.cuda.taps import FOLD_THREADS, GLOBAL, IN_REGISTERS, REGISTERS, SHARED

ROW_INSTRUCTIONS = 10
"""Of a step for one row, beyond those of a tile's: the ring, the queue, columns of z and x."""
COLUMNS_INSTRUCTIONS = 30
"""For reading and writing four columns of one channel, and as many for the row itself. Both
counted in the machine code for sm_90, as those of `invconv.solvers.cuda.cost`."""
MOST_REGISTERS = 240
"""Of a thread: less than there are, since the estimate may be too low."""


class Streams(NamedTuple):
    """One way to share out a problem: what a thread owns, and how many rows a block has."""

    outputs: int
    rows: int
    taps_in: int
    folded: bool
    height: int
    ahead: int
    samples: int


@lru_cache(maxsize=1024)
def plan_streams(g: SizedProblem, chip: Chip, forced: Forced = UNFORCED) -> Plan | None:
    """The inverse in one launch per 256 groups, or None where nothing fits the chip."""
    ways = list(_ways(g, chip, forced))
    if not ways:
        return None
    way = min(ways, key=lambda one: estimate(g, chip, one))
    options = (
        *taps.options(g, way),
        ("AHEAD", way.ahead),
        ("ALIGNED", int(g.aligned and g.width % 4 == 0)),
        ("RING", _ring(g)),
        ("THREADS", _most_threads(g, way)),
    )
    launches = []
    for first, count in group_slices(g.groups):
        fields = launch_fields(g, first, count, (way.height, 0), way.samples)
        launches += taps.fold_launches(g, way, fields)
        blocks = count * math.ceil(g.batch / way.samples)
        launches.append(Launch("solve", blocks, _threads(g, way), _shared(g, way), fields))
    rereads, cycles = _bands(g, way) > 1, estimate(g, chip, way)
    folded = taps.workspace(g, way)
    return Plan("streaming", options, tuple(launches), folded, True, rereads, cycles)


def estimate(g: SizedProblem, chip: Chip, way: Streams) -> float:
    """Cycles from the first launch to the end of the last."""
    threads = _threads(g, way)
    warps = math.ceil(threads / 32)
    held = blocks_per_multiprocessor(chip, warps * 32, _registers(g, way), _shared(g, way))
    loads = way.rows * (g.anchor[0] + 2) * g.vectors
    # a warp pays for four columns whenever they end for some of its threads
    together = math.ceil(g.channels / way.outputs) * _slots(way) / 4
    often = min(4, 1 + 24 / together) / 4
    columns = often * COLUMNS_INSTRUCTIONS * (1 + way.outputs)
    others = way.rows * math.ceil(cost.ROW_INSTRUCTIONS + ROW_INSTRUCTIONS + columns)
    if way.taps_in != REGISTERS:
        others += (g.anchor[0] + 1) * g.vectors * cost.LOOP_INSTRUCTIONS
        loads += g.taps * g.channels * math.ceil(way.outputs * g.size / 16)
        loads += way.rows * way.outputs * g.vectors
    if way.taps_in == GLOBAL:
        loads *= 8
    products = way.rows * way.outputs * (g.taps + 1) * g.channels * g.size // 4
    work = cost.Step(products, way.rows * g.span * way.outputs, loads, others)
    blocks = g.groups * math.ceil(g.batch / way.samples)
    here, waves = cost.waves(chip, blocks, held)
    steps = round_up(g.width + (1 + g.reach) * (way.height - 1), _ring(g))
    bands = _bands(g, way)
    total: float = cost.LAUNCH_CYCLES
    total += cost.LAUNCH_CYCLES + cost.fold_cycles(g, FOLD_THREADS) if way.folded else 0
    once = 0 if way.folded else cost.fold_cycles(g, threads)
    # z and x pass once, meanwhile
    moved = here * 2 * cost.moved_cycles(g, way.samples * g.height * g.width)
    band = steps * work.cycles(here * warps * g.width / steps) + 2 * cost.MEMORY_CYCLES
    return total + waves * (once + max(bands * band, moved))


def _ways(g: SizedProblem, chip: Chip, forced: Forced) -> Iterator[Streams]:
    rows_of = [forced.rows] if forced.rows else [1, 2, 4]
    samples_of = [forced.samples] if forced.samples else [1, 2, 4, 8]
    ahead_of = [forced.ahead] if forced.ahead else [4, 8] if g.width > 8 else [4]
    places = [forced.taps_in] if forced.taps_in is not None else [REGISTERS, SHARED, GLOBAL]
    outputs_of = [forced.outputs] if forced.outputs else sorted({1, 2, 4, 8, min(8, g.channels)})
    for outputs, rows, samples, taps_in, ahead in product(
        outputs_of, rows_of, samples_of, places, ahead_of
    ):
        if outputs > g.channels or samples > max(1, g.batch):
            continue
        if taps_in == REGISTERS and g.taps * g.channels * outputs > IN_REGISTERS[g.size]:
            continue
        folded = taps.folds_before(g, taps_in, forced)
        shape = Streams(outputs, rows, taps_in, folded, 0, ahead, samples)
        height = forced.tile or _height(g, shape)
        way = shape._replace(height=min(height, g.height))
        # of a band some rows are read, not solved
        solves = way.height == g.height or way.height > g.anchor[0]
        few = _threads(g, way) <= _most_threads(g, way) and _registers(g, way) <= MOST_REGISTERS
        if solves and few and _shared(g, way) <= chip.shared_per_block:
            yield way


def _height(g: SizedProblem, way: Streams) -> int:
    """The rows of a block: all, or as many as its threads can own."""
    blocks = math.ceil(g.channels / way.outputs)
    slots = _most_threads(g, way) // (blocks * way.samples) // 4 * 4
    return min(g.height, slots * way.rows)


def _bands(g: SizedProblem, way: Streams) -> int:
    """How often a block begins again at the top: bands overlap by the rows that they read."""
    if way.height >= g.height:
        return 1
    return math.ceil((g.height - g.anchor[0]) / (way.height - g.anchor[0]))


def _ring(g: SizedProblem) -> int:
    """Diagonals of x in shared memory."""
    rows = g.anchor[0]
    back = max(1, rows + g.reach * (rows - 1)) if rows else 1
    return max(4, 1 << back.bit_length())


def _most_threads(g: SizedProblem, way: Streams) -> int:
    """As many as their registers allow, the same number for each scheduler; at most 512."""
    warps = 512 // min(256, round_up(_registers(g, way), 8))
    return min(512, 32 * cost.SCHEDULERS * warps)


def _threads(g: SizedProblem, way: Streams) -> int:
    blocks = math.ceil(g.channels / way.outputs)
    return blocks * _slots(way) * way.samples


def _slots(way: Streams) -> int:
    """Threads of one channel: rows that come to the end of four columns together are neighbors."""
    return round_up(math.ceil(way.height / way.rows), 4)


def _registers(g: SizedProblem, way: Streams) -> int:
    """What a thread should need: at least what NVRTC took for the shapes of the field, less 4."""
    moving = way.rows * way.outputs * (g.span + way.ahead)
    if way.taps_in == REGISTERS:
        held = (g.taps + 1) * g.channels * way.outputs
        return math.ceil(34 + 20 * way.rows + (1.7 * moving + held) * g.size / 4)
    wide = 10.3 * way.rows * g.wide + 3.7 * way.outputs * g.span
    return math.ceil(22 + (wide + 0.5 * moving) * g.size / 4)


def _shared(g: SizedProblem, way: Streams) -> int:
    rows = way.rows * _slots(way)
    ring = (_ring(g) + 1) * round_up(rows + g.anchor[0], 4)
    return taps.shared_bytes(g, way, way.samples * g.stride * (ring + rows * (2 * way.ahead + 1)))
