"""The geometry of a triangular convolution: anchor, corners and channel triangle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from invconv.validation import check_choice, check_image_tensor, whole

CORNERS = ("tl", "tr", "bl", "br")
"""Corner names; a name's position is its code: bit 0 from the right, bit 1 from the bottom."""

FLIPS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))
"""The axes that turn each corner into the top left one."""


@dataclass(frozen=True)
class Problem:
    """What is fixed besides the numbers.

    Attributes:
        anchor: (row, column) of the tap that meets the current pixel.
        corners: one code per group, an index into `CORNERS`.
        upper: whether the anchor tap is upper instead of lower triangular in channels.
    """

    anchor: tuple[int, int]
    corners: tuple[int, ...]
    upper: bool

    @property
    def codes(self) -> bytes:
        """The corners as the kernels take them."""
        return bytes(self.corners)

    @property
    def groups(self) -> int:
        """The number of channel groups."""
        return len(self.corners)

    @property
    def opposite(self) -> tuple[int, ...]:
        """The corners from which the adjoint runs."""
        return tuple(3 - corner for corner in self.corners)

    def slope(self, kernel_width: int) -> int:
        """The wavefront's slope: pixels with equal t = slope·row + column are independent."""
        return kernel_width - self.anchor[1]

    def steps(self, height: int, width: int, kernel_width: int) -> int:
        """The number of dependent steps, slope·(H−1) + W: 2n−1 for a corner anchor, n = H = W."""
        return self.slope(kernel_width) * (height - 1) + width if height and width else 0


def parse_problem(
    x: Tensor,
    weight: Tensor,
    anchor: tuple[int, int] | str | None,
    corners: str | Sequence[str],
    upper: bool,
    name: str,
) -> Problem:
    """Check shapes, dtypes and devices, and return the `Problem`.

    Args:
        x: the tensor that the operation is applied to, (B, C, H, W); ``name`` is what the
            caller calls it.
        weight: (C, C', kh, kw); the number of groups is C // C'.

    Raises:
        TypeError: for something that is no floating-point tensor, or dtypes that differ.
        ValueError: for shapes, an anchor, corners or devices that do not fit.
    """
    check_image_tensor(x, name)
    check_image_tensor(weight, "weight", "(C, C', kh, kw)")
    channels, per_group, kh, kw = weight.shape
    if x.shape[1] != channels:
        raise ValueError(
            f"{name} must have as many channels as weight has rows: {name} has shape "
            f"{tuple(x.shape)}, weight has shape {tuple(weight.shape)}"
        )
    if min(weight.shape) < 1 or channels % per_group:
        raise ValueError(
            "weight must have shape (C, C', kh, kw) with C divisible by C' and kh, kw at least 1, "
            f"not {tuple(weight.shape)}"
        )
    if x.dtype != weight.dtype:
        raise TypeError(f"{name} and weight must have one dtype, not {x.dtype} and {weight.dtype}")
    if x.device != weight.device:
        raise ValueError(
            f"{name} and weight must be on one device, not {x.device} and {weight.device}"
        )
    if upper not in (True, False):
        raise ValueError(f"upper must be True or False, not {upper!r}")
    return Problem(
        parse_anchor(anchor, kh, kw), parse_corners(corners, channels // per_group), bool(upper)
    )


def parse_anchor(anchor: tuple[int, int] | str | None, kh: int, kw: int) -> tuple[int, int]:
    """(row, column) of the anchor tap: the last tap for None, the middle one for "center"."""
    if anchor is None:
        return kh - 1, kw - 1
    if isinstance(anchor, str):
        if anchor != "center":
            raise ValueError(f'anchor must be None, "center" or (row, column), not {anchor!r}')
        if kh % 2 == 0 or kw % 2 == 0:
            raise ValueError(f"a kernel of {kh}x{kw} taps has no center; give odd sizes")
        return kh // 2, kw // 2
    places = [whole(place) for place in anchor] if isinstance(anchor, Sequence) else []
    if len(places) != 2 or None in places:
        raise ValueError(f'anchor must be None, "center" or (row, column), not {anchor!r}')
    row, column = cast(list[int], places)
    if not (0 <= row < kh and 0 <= column < kw):
        raise ValueError(
            f"anchor must lie inside the {kh}x{kw} kernel: row 0 to {kh - 1}, "
            f"column 0 to {kw - 1}, not {tuple(anchor)}"
        )
    return row, column


def parse_corners(corners: str | Sequence[str], groups: int) -> tuple[int, ...]:
    """One code per group from one name for all groups or one name per group."""
    if not isinstance(corners, Sequence):
        raise ValueError(f"corners must be one name or one per group, not {corners!r}")
    names = (corners,) * groups if isinstance(corners, str) else tuple(corners)
    codes = tuple(CORNERS.index(check_choice(name, CORNERS, "corner")) for name in names)
    if len(names) != groups:
        raise ValueError(
            f"corners must be one name or one per group: {len(names)} names for {groups} groups"
        )
    return codes


def keep_structure(weight: Tensor, problem: Problem, strict: bool = False) -> Tensor:
    """``weight`` with every entry that must not be read set to zero, NaN included.

    With ``strict`` the diagonal of the anchor tap, too.
    """
    _, per_group, _, kw = weight.shape
    anchor = problem.anchor[0] * kw + problem.anchor[1]
    taps = weight.flatten(2)
    square = taps[:, :, anchor].reshape(problem.groups, per_group, per_group)
    triangle = square.triu(int(strict)) if problem.upper else square.tril(-int(strict))
    triangle = triangle.reshape(-1, per_group, 1)
    after = torch.zeros_like(taps[:, :, anchor + 1 :])
    return torch.cat([taps[:, :, :anchor], triangle, after], 2).view(weight.shape)


def transpose_channels(weight: Tensor, groups: int) -> Tensor:
    """``weight`` (C, C', kh, kw) with C' and C' swapped inside each group."""
    _, per_group, kh, kw = weight.shape
    split = weight.reshape(groups, per_group, per_group, kh, kw)
    return split.transpose(1, 2).reshape(weight.shape)


def as_lower_corner(
    solve: Callable[[Tensor, Tensor, Problem], Tensor],
    z: Tensor,
    weight: Tensor,
    problem: Problem,
) -> Tensor:
    """The solution by FInC's algorithms, which know corner anchors and lower triangles alone.

    An upper triangle is a lower one once the channels of each group are reversed.

    Args:
        solve: called with a ``problem`` of that kind, and z and weight as they then are.
        z: (B, C, H, W).
        weight: (C, C', kh, kw).
        problem: any.

    Raises:
        ValueError: for an anchor that is not the last tap.
    """
    channels, per_group, kh, kw = weight.shape
    if problem.anchor != (kh - 1, kw - 1):
        raise ValueError(
            "diagonal_channel is FInC's algorithm and knows corner anchors alone: the last tap, "
            f"not {problem.anchor}; use compiled, wavefront or reference"
        )
    if not problem.upper:
        return solve(z, weight, problem)
    reverse = torch.arange(channels, device=z.device).view(-1, per_group).flip(1).flatten()
    x = solve(z[:, reverse], weight.flip(1)[reverse], replace(problem, upper=False))
    return x[:, reverse]


def orient(x: Tensor, corners: tuple[int, ...]) -> Tensor:
    """Flips each group of ``x`` (B, C, H, W) so that its corner becomes the top left one.

    An involution: applied twice it gives ``x`` back.
    """
    if not any(corners):
        return x
    parts = x.chunk(len(corners), dim=1)
    return torch.cat(
        [p.flip(FLIPS[c]) if c else p for p, c in zip(parts, corners, strict=True)], 1
    )
