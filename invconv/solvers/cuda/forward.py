"""The forward in one launch: which tile a block holds."""

import math
from functools import lru_cache

from invconv.solvers.cuda.plan import (
    UNFORCED,
    Chip,
    Forced,
    Launch,
    Options,
    Plan,
    SizedProblem,
    group_slices,
    launch_fields,
    round_up,
)


@lru_cache(maxsize=1024)
def plan_convolve(g: SizedProblem, chip: Chip, forced: Forced = UNFORCED) -> Plan:
    """The forward: one launch per 256 groups, tiles of at most 32×32 pixels."""
    rows = forced.rows or (4 if g.height > 2 else 1)
    threads, depth = 256, g.vectors * g.wide
    outputs = 4 if g.channels > 2 else g.channels
    chunk = round_up(g.channels, outputs)

    def taps_bytes() -> int:
        return round_up((g.taps + 1) * depth * chunk, 4) * g.size

    while taps_bytes() > chip.shared_per_block // 2 and chunk > outputs:
        chunk = round_up(chunk // 2, outputs)
    taps_in = forced.taps_in or (1 if taps_bytes() <= chip.shared_per_block // 2 else 2)
    taps_size = taps_bytes() if taps_in == 1 else 0
    own: Options = (("OUTPUTS", outputs), ("ROWS", rows), ("CHUNK", chunk), ("TAPS_IN", taps_in))
    sizes = (forced.tile,) if forced.tile else (32, 24, 16, 12, 8, 4, 2, 1)
    for size in sizes:
        tile = (min(size, g.height), min(size, g.width))
        pitch = tile[1] + g.kernel[1] - 1
        window = (tile[0] + g.anchor[0]) * pitch * g.stride * g.size
        shared = taps_size + window
        if shared <= chip.shared_per_block // 2 and forced.window_in_shared is not False:
            break
    else:
        tile, pitch, window, shared = (min(16, g.height), min(16, g.width)), 0, 0, taps_size
    items = chunk // outputs * math.ceil(tile[0] / rows) * tile[1]
    most = 1
    while most * 2 * items <= threads and taps_size + 2 * most * window <= 48 * 1024:
        most *= 2
    samples = forced.samples or max(1, min(most, g.batch))
    shared = taps_size + samples * window
    own += (("WINDOW_IN_SHARED", int(window > 0)), ("THREADS", threads))
    options: Options = g.options + own
    chunks = math.ceil(g.channels / chunk)
    tiles = math.ceil(g.height / tile[0]) * math.ceil(g.width / tile[1])
    launches = []
    for first, count in group_slices(g.groups):
        blocks = chunks * tiles * count * math.ceil(g.batch / samples)
        fields = launch_fields(g, first, count, tile, samples, pitch=pitch)
        launches.append(
            Launch("convolve", blocks, min(threads, round_up(items * samples, 32)), shared, fields)
        )
    return Plan("convolution", options, tuple(launches), 0, in_place=False)
