"""Registers, spills and shared memory of the CUDA kernels: read from NVRTC, without a GPU."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

from invconv.solvers.cuda import nvrtc
from invconv.solvers.cuda.forward import plan_convolve
from invconv.solvers.cuda.plan import A100, H100, Chip, Geometry, Options, Plan
from invconv.solvers.cuda.tiles import largest_window, plan_solve

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


class Used(NamedTuple):
    """What one kernel of one specialisation takes on one chip; sizes in bytes.

    ``shared`` is the most that a launch of a shape asks for, ``stack`` local memory that is no
    spill (the folding of many channels).
    """

    method: str
    kernel: str
    element: str
    channels: int
    kernel_size: int
    largest: str
    chip: str
    options: Options
    registers: int
    spilled: int
    stack: int
    shared: int


def plans(chip: Chip, elements: tuple[int, ...]) -> Iterator[tuple[str, Geometry, Plan]]:
    """Every plan of the field's shapes."""
    for method, shapes in SHAPES.items():
        for (groups, channels, k, anchor), element in product(shapes, elements):
            if element and (k != 3 or channels not in (3, 6, 12)):
                continue
            for n, batch in product(SIZES, BATCHES):
                places = ((k, k), (anchor, anchor))
                g = Geometry(batch, groups, channels, n, n, *places, element, False)
                yield method, g, plan_solve(g, chip)
                yield method, g, plan_convolve(g, chip)


def measure(chip: str, elements: tuple[int, ...] = (0, 1, 2)) -> list[Used]:
    """Compiles every specialisation for ``chip`` and reads what the assembler says of it."""
    found: dict[tuple[str, Options], tuple[str, Geometry, int]] = {}
    for method, g, plan in plans(CHIPS[chip], elements):
        shared = max(one.shared for one in plan.launches)
        key = (plan.source, plan.options)
        first = found.get(key, (method, g, 0))
        found[key] = (*first[:2], max(shared, first[2]))

    def one(item: tuple[tuple[str, Options], tuple[str, Geometry, int]]) -> list[Used]:
        (source, options), (method, g, shared) = item
        text = nvrtc.source(source)
        code, log = nvrtc.compile_text(text, nvrtc.flags(chip, options), binary=True)
        if code is None:
            raise RuntimeError(f"{source} with {dict(options)} does not compile: {log}")
        largest = str(largest_window(g, CHIPS[chip])) if source == "wavefront" else ""
        return [
            Used(
                method,
                kernel,
                ELEMENTS[g.element],
                g.channels,
                g.kernel[0],
                largest,
                chip,
                options,
                registers,
                spilled,
                stack,
                shared if kernel != "fold" else 0,
            )
            for kernel, registers, spilled, stack in parse(log)
        ]

    with ThreadPoolExecutor(2) as pool:
        return [used for each in pool.map(one, found.items()) for used in each]


def parse(log: str) -> Iterator[tuple[str, int, int, int]]:
    """(kernel, registers, spilled bytes, stack bytes) of each kernel in the assembler's log."""
    pattern = (
        r"Function properties for (\w+).*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers"
    )
    for kernel, stack, stores, loads, registers in re.findall(pattern, log, re.DOTALL):
        yield kernel, int(registers), int(stores) + int(loads), int(stack)
