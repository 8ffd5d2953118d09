"""Triangular convolutions for the tests, well conditioned and with poisoned unread entries."""

import itertools
from typing import NamedTuple

import numpy as np
import torch

from invconv.solvers.problem import CORNERS, keep_structure, parse_problem


class Case(NamedTuple):
    """A geometry: anchor None is the last tap; corners go around per group."""

    groups: int
    per_group: int
    kernel: tuple[int, int]
    image: tuple[int, int]
    anchor: tuple[int, int] | str | None = None
    upper: bool = False

    def __str__(self) -> str:
        kernel, image = ("x".join(map(str, pair)) for pair in (self.kernel, self.image))
        anchor = "last" if self.anchor is None else str(self.anchor).replace(", ", "-")
        triangle = "upper" if self.upper else "lower"
        return f"G{self.groups}-C{self.per_group}-k{kernel}-n{image}-{anchor}-{triangle}"

    @property
    def arguments(self):
        corners = [CORNERS[(3 * group + 1) % 4] for group in range(self.groups)]
        return {"anchor": self.anchor, "corners": corners, "upper": self.upper}


SHAPES = [
    (4, 1, (3, 3), (5, 6)),
    (2, 3, (2, 3), (4, 3)),
    (3, 2, (4, 2), (2, 5)),
    (1, 4, (5, 5), (3, 4)),
    (1, 1, (1, 1), (2, 2)),
    (2, 2, (1, 4), (1, 7)),
    (4, 2, (2, 2), (6, 1)),
]


def cases() -> list[Case]:
    """Every shape with every kind of anchor and both triangles."""
    found = []
    for (groups, per_group, (kh, kw), image), upper in itertools.product(SHAPES, (False, True)):
        anchors = {None, (0, 0), (kh // 2, kw // 2), (kh - 1, 0), (0, kw - 1)}
        for anchor in sorted(anchors, key=str):
            found.append(Case(groups, per_group, (kh, kw), image, anchor, upper))
    return found


def make(case: Case, batch: int = 2, dtype=torch.float64, poison: bool = True):
    """z and weight of a case; what must not be read is NaN where ``poison``."""
    generator = torch.Generator().manual_seed(0)
    channels = case.groups * case.per_group
    z = torch.randn(batch, channels, *case.image, dtype=dtype, generator=generator)
    weight = torch.randn(channels, case.per_group, *case.kernel, dtype=dtype, generator=generator)
    weight *= 0.3 / case.per_group**0.5
    problem = parse_problem(z, weight, case.anchor, "tl", case.upper, "z")
    row, column = problem.anchor
    diagonal = torch.arange(channels) % case.per_group
    weight[torch.arange(channels), diagonal, row, column] = 1 + 0.2 * torch.rand(
        channels, dtype=dtype, generator=generator
    )
    if poison:
        read = keep_structure(torch.ones_like(weight), problem) > 0
        weight = torch.where(read, weight, torch.nan)
    return z, weight


def entries(conv):
    """Two masks of the weight of a `TriangularConv`: its free taps, and the anchor's diagonal."""
    free, diagonal = (torch.zeros(conv.weight.shape, dtype=torch.bool) for _ in range(2))
    for (c, d, *tap), _ in np.ndenumerate(free.numpy()):
        here = c % free.shape[1]
        if tuple(tap) != conv.anchor:
            free[c, d, *tap] = tuple(tap) < conv.anchor
        elif d == here:
            diagonal[c, d, *tap] = True
        else:
            free[c, d, *tap] = (d > here) == conv.upper
    return free, diagonal
