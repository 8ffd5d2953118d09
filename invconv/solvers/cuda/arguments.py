"""The one argument of every kernel: `Arguments` of `kernels/cuda/common.cuh`."""

import ctypes
from collections.abc import Mapping

CORNER_WORDS = 16
_INTEGERS = (
    "batch",
    "total_groups",
    "first_group",
    "groups",
    "height",
    "width",
    "tile_height",
    "tile_width",
    "pitch",
    "halo",
    "samples",
    "diagonal",
    "first_tile",
    "tiles",
    "channel",
)


class Arguments(ctypes.Structure):
    """Addresses, sizes, and the corners of at most 256 groups, two bits each."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("input", "weight", "output", "folded")),
        *((name, ctypes.c_int) for name in _INTEGERS),
        ("corners", ctypes.c_uint * CORNER_WORDS),
    )


def pack(
    addresses: tuple[int, int, int, int], fields: Mapping[str, int], corners: tuple[int, ...]
) -> Arguments:
    """The arguments of one launch.

    Args:
        addresses: of input, weight, output and workspace.
        fields: the launch's, see `invconv.solvers.cuda.plan`.
        corners: of all groups; the launch's own are taken from them.
    """
    packed = Arguments(*addresses, **fields)
    first = fields["first_group"]
    for n, corner in enumerate(corners[first : first + fields["groups"]]):
        packed.corners[n // 16] |= corner << 2 * (n % 16)
    return packed
