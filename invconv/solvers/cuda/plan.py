"""How a problem is cut into CUDA launches: pure arithmetic, the same with and without a GPU."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from invconv.solvers.problem import Problem

ELEMENTS = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}
GROUPS_PER_LAUNCH = 256
TILES = (256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
Options = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Chip:
    """What a plan must know of a GPU; shared memory in bytes.

    Attributes:
        architecture: compute capability, 90 for sm_90.
        multiprocessors: how many.
        shared_per_block, shared_per_multiprocessor: the most that can be asked for.
    """

    architecture: int
    multiprocessors: int
    shared_per_block: int
    shared_per_multiprocessor: int


H100 = Chip(90, 132, 232_448, 233_472)
A100 = Chip(80, 108, 166_912, 167_936)


@dataclass(frozen=True)
class Launch:
    """One kernel launch: a grid of ``blocks`` with ``threads`` each and the changing arguments."""

    kernel: str
    blocks: int
    threads: int
    shared: int
    fields: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The launches of one call, in order.

    Attributes:
        source: the kernel's file without its suffix.
        options: the macros that specialize it.
        folded: elements of the workspace for folded taps; 0 where the blocks fold for themselves.
        in_place: whether the output may be the input.
        rereads: whether what is rounded to the output's type is read again: by a later launch, or
            by a later band of the same one.
        cycles: what it should cost, by the model of `invconv.solvers.cuda.cost`.
    """

    source: str
    options: Options
    launches: tuple[Launch, ...]
    folded: int
    in_place: bool = True
    rereads: bool = False
    cycles: float = 0.0


@dataclass(frozen=True)
class Forced:
    """What a plan would choose by itself; None leaves the choice. For tests and measurements.

    Attributes:
        streamed: whether rows are streamed; otherwise blocks hold tiles, as they do, too, where
            ``window_in_shared`` is given.
        tile: rows, and in tiles columns, of a block.
        samples, rows, outputs: of a block; of a thread, with channels.
        window_in_shared: whether earlier pixels of a tile are in shared memory.
        taps_in: 0 registers, 1 shared memory, 2 global memory.
        folded: whether a launch in front folds the taps.
        ahead: columns that a thread asks for at a time.
    """

    streamed: bool | None = None
    tile: int | None = None
    samples: int | None = None
    rows: int | None = None
    window_in_shared: bool | None = None
    taps_in: int | None = None
    folded: bool | None = None
    outputs: int | None = None
    ahead: int | None = None


UNFORCED = Forced()


@dataclass(frozen=True)
class SizedProblem:
    """The numbers of one problem and its sizes, as the kernels name them."""

    batch: int
    groups: int
    channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    anchor: tuple[int, int]
    element: int
    upper: bool
    aligned: bool = True
    """Whether tensors begin at a multiple of 16 bytes."""

    @property
    def size(self) -> int:
        """Bytes of a number in arithmetic."""
        return 8 if self.element == 1 else 4

    @property
    def taps(self) -> int:
        """Taps before the anchor."""
        return self.anchor[0] * self.kernel[1] + self.anchor[1]

    @property
    def reach(self) -> int:
        """How far right of its pixel a tap of the rows above reaches."""
        return self.kernel[1] - 1 - self.anchor[1] if self.anchor[0] else 0

    @property
    def span(self) -> int:
        """Running sums per row."""
        return self.kernel[1] if self.anchor[0] else max(1, self.anchor[1])

    @property
    def wide(self) -> int:
        """Channels that move together."""
        return self.channels if self.channels <= 2 else 2 if self.element == 1 else 4

    @property
    def vectors(self) -> int:
        """Vectors of `wide` channels per pixel."""
        return math.ceil(self.channels / self.wide)

    @property
    def folded_columns(self) -> int:
        """Columns of a group's taps and anchor, each of which is folded by one thread."""
        return (self.taps + 1) * self.vectors * self.wide

    @property
    def stride(self) -> int:
        """Numbers per pixel in shared memory."""
        return (self.vectors | 1 if self.vectors > 2 else self.vectors) * self.wide

    @property
    def options(self) -> Options:
        """The macros that every kernel needs."""
        return (
            ("ELEMENT", self.element),
            ("CHANNELS", self.channels),
            ("KERNEL_HEIGHT", self.kernel[0]),
            ("KERNEL_WIDTH", self.kernel[1]),
            ("ANCHOR_ROW", self.anchor[0]),
            ("ANCHOR_COLUMN", self.anchor[1]),
            ("UPPER", int(self.upper)),
        )


def sized_problem(
    shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    problem: Problem,
    dtype: torch.dtype,
    aligned: bool = True,
) -> SizedProblem:
    """The problem of images of ``shape`` and a kernel of ``weight_shape``."""
    batch, _, height, width = shape
    _, per_group, kh, kw = weight_shape
    anchor = problem.anchor
    return SizedProblem(
        batch,
        problem.groups,
        per_group,
        height,
        width,
        (kh, kw),
        anchor,
        ELEMENTS[dtype],
        problem.upper,
        aligned,
    )


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple that is not below ``value``."""
    return -(-value // multiple) * multiple


def group_slices(groups: int) -> Iterator[tuple[int, int]]:
    """(first, count) of the groups of each launch: the corners of 256 fit into its arguments."""
    for first in range(0, groups, GROUPS_PER_LAUNCH):
        yield first, min(GROUPS_PER_LAUNCH, groups - first)


def blocks_per_multiprocessor(chip: Chip, threads: int, registers: int, shared: int) -> int:
    """How many blocks one multiprocessor holds at a time, at least one.

    More registers than it has are only wanted: the compiler spills what does not fit.
    """
    warps = math.ceil(threads / 32)
    return max(
        1,
        min(
            32,
            64 // warps,
            65_536 // (warps * 32 * round_up(registers, 8)),
            chip.shared_per_multiprocessor // (shared + 1024),
        ),
    )


def launch_fields(
    g: SizedProblem, first: int, count: int, tile: tuple[int, int], samples: int, **others: int
) -> dict[str, int]:
    """The arguments of a launch for ``count`` groups from ``first`` on."""
    return {
        "batch": g.batch,
        "total_groups": g.groups,
        "first_group": first,
        "groups": count,
        "height": g.height,
        "width": g.width,
        "tile_height": tile[0],
        "tile_width": tile[1],
        "samples": samples,
        **others,
    }
