"""Registers, spills and shared memory of the CUDA kernels: read from NVRTC, without a GPU."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

from invconv.solvers.cuda import nvrtc
from invconv.solvers.cuda.forward import plan_convolve
from invconv.solvers.cuda.inverse import plan_solve
from invconv.solvers.cuda.plan import A100, H100, Chip, Options, Plan, SizedProblem
from invconv.solvers.cuda.tiles import largest_window

B200 = Chip(100, 148, 232_448, 233_472)
CHIPS = {"sm_80": A100, "sm_90": H100, "sm_100": B200}
CORNER = [(4, c, k, k - 1) for c, k in ((1, 3), (2, 3), (3, 3), (6, 3), (12, 3), (24, 3))]
CORNER += [(4, 3, k, k - 1) for k in (1, 2, 5, 7, 11)]
SHAPES = {
    "FInC": CORNER,
    "CInC": [(1, c, 3, 2) for c in (12, 24, 48)],
    "Emerging, square": [(1, c, 2, 1) for c in (12, 24, 48)],
    "Emerging, raster": [(1, c, 3, 1) for c in (12, 24, 48)],
}
"""Groups, channels per group, kernel size and anchor of each method's layers."""
SIZES = (4, 8, 16, 32, 64, 128, 256, 512)
BATCHES = (1, 100)
ELEMENTS = ("float32", "float64", "bfloat16")
PLACES = ("registers", "shared", "global")
FOLDED = {None: "", 0: "by each block", 1: "before"}


class Used(NamedTuple):
    """What one kernel of one specialization takes of one chip; sizes in bytes.

    Attributes:
        chip: for which it was compiled.
        kernel, element: its name and the type of the images.
        method: of the first layer that needs it, with ``channels`` per group and ``kernel_size``.
        outputs, rows: of a thread.
        taps_in: where the taps are.
        folded: which launch multiplies the anchor's inverse into the taps; "" where none does.
        registers: of a thread.
        spilled: registers that are kept in memory.
        stack: local memory that is no spill: where more than 8 channels are folded.
        largest: of the solve, up to which n an image is one tile.
        shared: the most that a launch of a shape asks for.
    """

    chip: str
    kernel: str
    element: str
    method: str
    channels: int
    kernel_size: int
    outputs: int
    rows: int
    taps_in: str
    folded: str
    registers: int
    spilled: int
    stack: int
    largest: str
    shared: int


def plans(chip: Chip, elements: tuple[int, ...]) -> Iterator[tuple[str, SizedProblem, Plan]]:
    """The method, problem and plan of every launch that the field's shapes lead to."""
    for method, shapes in SHAPES.items():
        for (groups, channels, k, anchor), element in product(shapes, elements):
            if element and (k != 3 or channels not in (3, 6, 12)):
                continue
            for n, batch in product(SIZES, BATCHES):
                places = ((k, k), (anchor, anchor))
                g = SizedProblem(batch, groups, channels, n, n, *places, element, False)
                yield method, g, plan_solve(g, chip)
                yield method, g, plan_convolve(g, chip)


def measure(chip: str, elements: tuple[int, ...] = (0, 1, 2)) -> list[Used]:
    """Compile every specialization for ``chip``, and read what the assembler says of it."""
    wanted: dict[tuple[str, Options], tuple[str, SizedProblem, int]] = {}
    for method, g, plan in plans(CHIPS[chip], elements):
        shared = max(one.shared for one in plan.launches)
        key = (plan.source, plan.options)
        first = wanted.get(key, (method, g, 0))
        wanted[key] = (*first[:2], max(shared, first[2]))

    def one(item: tuple[tuple[str, Options], tuple[str, SizedProblem, int]]) -> list[Used]:
        (source, options), (method, g, shared) = item
        text = nvrtc.source(source)
        code, log = nvrtc.compile_text(text, nvrtc.flags(chip, options), binary=True)
        if code is None:
            raise RuntimeError(f"{source} with {dict(options)} does not compile: {log}")
        largest = str(largest_window(g, CHIPS[chip])) if source == "wavefront" else ""
        macros, names = dict(options), (ELEMENTS[g.element], method)
        size = (g.channels, g.kernel[0], macros["OUTPUTS"], macros["ROWS"])
        taps = (PLACES[macros["TAPS_IN"]], FOLDED[macros.get("FOLDED")])
        kernels = []
        for kernel, registers, spilled, stack in parse(log):
            used, asked = (registers, spilled, stack), 0 if kernel == "fold" else shared
            kernels.append(Used(chip, kernel, *names, *size, *taps, *used, largest, asked))
        return kernels

    with ThreadPoolExecutor(2) as pool:
        return [used for each in pool.map(one, wanted.items()) for used in each]


def parse(log: str) -> Iterator[tuple[str, int, int, int]]:
    """Yield (kernel, registers, spilled bytes, stack bytes) for each kernel in a log."""
    pattern = (
        r"Function properties for (\w+).*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers"
    )
    for kernel, stack, stores, loads, registers in re.findall(pattern, log, re.DOTALL):
        yield kernel, int(registers), int(stores) + int(loads), int(stack)
