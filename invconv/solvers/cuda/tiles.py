"""The inverse in launches: which part of an image a block holds, and what that should cost.

Of all cuts that fit the chip the one with the smallest estimate wins.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from invconv.solvers.cuda import cost, taps
from invconv.solvers.cuda.plan import (
    TILES,
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


class Cut(NamedTuple):
    """One way to cut a problem: what a thread owns, where the taps are, what a block holds."""

    outputs: int
    rows: int
    taps_in: int
    folded: bool
    window_in_shared: bool
    tile: tuple[int, int]
    halo: int
    samples: int


def largest_window(g: SizedProblem, chip: Chip) -> int:
    """The largest image, n = H = W, that one block holds as a whole; 0 if none.

    Beyond it an image is cut into tiles, which read what they need of earlier tiles from the
    output through the L2 cache.
    """
    fits = 0
    for n in range(1, 1025):
        image = replace(g, batch=1, height=n, width=n)
        if not any(_cuts(image, chip, Forced(tile=max(_whole(image)), window_in_shared=True))):
            break
        fits = n
    return fits


@lru_cache(maxsize=1024)
def plan_tiles(g: SizedProblem, chip: Chip, forced: Forced = UNFORCED) -> Plan | None:
    """The inverse in one launch, or one per anti-diagonal of tiles; None if no cut fits."""
    cuts = list(_cuts(g, chip, forced))
    if not cuts:
        return None
    cut = min(cuts, key=lambda one: estimate(g, chip, one))
    options = (
        *taps.options(g, cut),
        ("WINDOW_IN_SHARED", int(cut.window_in_shared)),
        ("THREADS", _most_threads(g, cut.taps_in)),
    )
    pitch = _pitch(cut)
    shared, threads = _shared(g, cut), _threads(g, cut)
    launches = []
    for first, count in group_slices(g.groups):
        fields = launch_fields(g, first, count, cut.tile, cut.samples)
        launches += taps.fold_launches(g, cut, fields)
        for diagonal, (tile, tiles) in enumerate(_diagonals(g, cut.tile)):
            places = {"diagonal": diagonal, "first_tile": tile, "tiles": tiles}
            places |= {"pitch": pitch, "halo": cut.halo}
            blocks = tiles * count * math.ceil(g.batch / cut.samples)
            launches.append(Launch("solve", blocks, threads, shared, fields | places))
    folded = taps.workspace(g, cut)
    rereads = not cut.window_in_shared or cut.tile != _whole(g)
    window, cycles = cut.window_in_shared, estimate(g, chip, cut)
    return Plan("wavefront", options, tuple(launches), folded, window, rereads, cycles)


def estimate(g: SizedProblem, chip: Chip, cut: Cut) -> float:
    """Cycles from the first launch to the end of the last."""
    threads = _threads(g, cut)
    warps = math.ceil(threads / 32)
    held = blocks_per_multiprocessor(chip, warps * 32, _registers(g, cut), _shared(g, cut))
    loads = cut.rows * (g.anchor[0] + 1) * g.vectors
    others = cut.rows * cost.ROW_INSTRUCTIONS
    if cut.taps_in != REGISTERS:
        others += (g.anchor[0] + 1) * g.vectors * cost.LOOP_INSTRUCTIONS
        loads += g.taps * g.channels * math.ceil(cut.outputs * g.size / 16)
    if cut.taps_in == GLOBAL or not cut.window_in_shared:
        loads *= 8
    products = cut.rows * cut.outputs * g.taps * g.channels * g.size // 4
    work = cost.Step(products, cut.rows * g.span * cut.outputs, loads, others)
    height, width = cut.tile
    steps = height + width - 1 + (g.span - 1 if width < _whole(g)[1] else 0)
    busy = width / (height + width - 1)
    area = cut.samples * (height + g.anchor[0]) * _pitch(cut)
    # each thread waits for the pixels that it reads, one trip after the other
    trips = math.ceil(area / threads) * cost.MEMORY_CYCLES
    filled, stored = (
        cost.moved_cycles(g, pixels) for pixels in (area, cut.samples * height * width)
    )
    fold = cost.fold_cycles(g, FOLD_THREADS if cut.folded else threads)
    total = cost.LAUNCH_CYCLES + fold if cut.folded else 0.0
    for _, tiles in _diagonals(g, cut.tile):
        blocks = tiles * g.groups * math.ceil(g.batch / cut.samples)
        here, waves = cost.waves(chip, blocks, held)
        fill = max(trips, here * filled) if cut.window_in_shared else 0
        fill += 0 if cut.folded else fold
        store = cost.MEMORY_CYCLES + here * stored
        step = work.cycles(here * warps * busy)
        total += cost.LAUNCH_CYCLES + waves * (steps * step + fill + store)
    return total


def _cuts(g: SizedProblem, chip: Chip, forced: Forced) -> Iterator[Cut]:
    whole = _whole(g)
    sizes = [forced.tile] if forced.tile else [max(whole), *TILES]
    tiles = {(min(size, whole[0]), min(size, whole[1])) for size in sizes}
    rows_of = [forced.rows] if forced.rows else [1, 2, 4]
    samples_of = [forced.samples] if forced.samples else [1, 2, 4, 8]
    found = False
    for tile, rows, samples in product(sorted(tiles, reverse=True), rows_of, samples_of):
        if samples > max(1, g.batch) or (rows > 1 and rows > 2 * tile[0]):
            continue
        for cut in _layouts(g, tile, rows, samples, forced):
            if _shared(g, cut) <= chip.shared_per_block and _fits(g, cut):
                found = True
                yield cut
    if not found and forced.window_in_shared is None:
        yield from _without_window(g, chip, forced)


def _without_window(g: SizedProblem, chip: Chip, forced: Forced) -> Iterator[Cut]:
    bands = replace(forced, samples=1, window_in_shared=False, taps_in=GLOBAL, folded=True)
    yield from _cuts(g, chip, bands)


def _layouts(
    g: SizedProblem, tile: tuple[int, int], rows: int, samples: int, forced: Forced
) -> Iterator[Cut]:
    window = forced.window_in_shared is not False
    if not window:
        tile = (tile[0], _whole(g)[1])
    back = max(1, g.reach * (g.anchor[0] - 1))
    halo = back if tile[1] == _whole(g)[1] else back + g.kernel[1] - 1
    in_registers = g.taps * g.channels <= IN_REGISTERS[g.size]
    for taps_in in (REGISTERS, SHARED, GLOBAL):
        if forced.taps_in is not None and taps_in != forced.taps_in:
            continue
        if forced.taps_in is None and (taps_in == REGISTERS) != in_registers:
            continue
        outputs = 1 if taps_in == REGISTERS else forced.outputs or _outputs(g, rows)
        if outputs is None or (forced.outputs or outputs) != outputs:
            continue
        folded = taps.folds_before(g, taps_in, forced, tiled=tile != _whole(g))
        yield Cut(outputs, rows, taps_in, folded, window, tile, halo, samples)


def _outputs(g: SizedProblem, rows: int) -> int | None:
    """Channels of one thread: at most 4, while the sums fit into registers."""
    most = 64 * 4 // g.size
    if g.channels > 4 * _most_threads(g, SHARED):
        return 16 if rows == 1 else None
    for outputs in (4, 2, 1):
        if outputs <= max(1, g.channels) and outputs * rows * g.span <= most:
            return outputs
    return 1 if rows == 1 else None


def _most_threads(g: SizedProblem, taps_in: int) -> int:
    """512 where 128 registers per thread are enough; 384, which leaves 168, with many taps."""
    if taps_in != REGISTERS:
        return 256
    few = g.taps * g.channels * g.size // 4 <= 54 and g.channels * g.size <= 32
    return 512 if few else 384


def _fits(g: SizedProblem, cut: Cut) -> bool:
    return _threads(g, cut) <= _most_threads(g, cut.taps_in)


def _threads(g: SizedProblem, cut: Cut) -> int:
    blocks = math.ceil(g.channels / cut.outputs)
    return blocks * math.ceil(cut.tile[0] / cut.rows) * cut.samples


def _registers(g: SizedProblem, cut: Cut) -> int:
    if cut.taps_in != REGISTERS:
        return 128
    return 56 + (g.taps * g.channels + cut.rows * g.span) * g.size // 4


def _pitch(cut: Cut) -> int:
    """Pixels per row of a window; even, so that those of a diagonal lie in different banks."""
    return round_up(cut.tile[1] + cut.halo, 2)


def _shared(g: SizedProblem, cut: Cut) -> int:
    window = (cut.tile[0] + g.anchor[0]) * _pitch(cut) * g.stride * cut.samples
    return taps.shared_bytes(g, cut, window if cut.window_in_shared else 0)


def _whole(g: SizedProblem) -> tuple[int, int]:
    """Height and width of the image in skewed coordinates."""
    return g.height, g.width + g.reach * (g.height - 1)


def _diagonals(g: SizedProblem, tile: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """The first tile row and the number of tiles of every anti-diagonal of tiles."""
    height, width = _whole(g)
    rows, columns = math.ceil(height / tile[0]), math.ceil(width / tile[1])
    for diagonal in range(rows + columns - 1):
        first = max(0, diagonal - columns + 1)
        yield first, min(rows - 1, diagonal) - first + 1
