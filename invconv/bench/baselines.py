"""The strongest that torch offers for what the solver is compared with."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from invconv.solvers.problem import FLIPS

Calls = dict[str, Callable[[], Tensor]]


@contextmanager
def tuned(device: torch.device) -> Iterator[dict[str, bool]]:
    """Let cuDNN try its algorithms on each new shape inside, and use the fastest, on a GPU.

    Otherwise it guesses, at times far from the fastest; a baseline is the strongest there is.
    Yields what a row says of it.
    """
    before, gpu = torch.backends.cudnn.benchmark, device.type == "cuda"
    torch.backends.cudnn.benchmark = before or gpu
    try:
        yield {"cudnn_benchmark": True} if gpu else {}
    finally:
        torch.backends.cudnn.benchmark = before


def corner_weight(
    channels: int, kernel_size: int, std: float = 0.05, groups: int = 4, anchor: int = -1
) -> Tensor:
    """FInC's kernels at their published initialization, (C, C/4, k, k), seeded by the caller.

    Other ``groups``, and another tap ``anchor`` in both directions, make those of other layers.
    """
    part = channels // groups
    weight = std * torch.randn(channels, part, kernel_size, kernel_size)
    taps = weight[:, :, anchor, anchor].view(groups, part, part)
    taps.copy_(taps.tril(-1) + torch.eye(part))
    return weight


def torch_forwards(x: Tensor, weight: Tensor) -> Calls:
    """FInC's four-corner convolution in each way that torch has, everything prepared outside.

    Four padded convolutions (with the output of the concatenation reused, and fresh), four
    with symmetric padding and a crop, one grouped with a crop, one dense with the four kernels
    embedded into zeros, and that one channels-last. The weight is (C, C/4, k, k) in top-left
    orientation, its groups from tl, tr, bl and br.
    """
    p, (height, width), quarter = weight.shape[2] - 1, x.shape[2:], len(weight) // 4
    corners = [w.flip(f).contiguous() for w, f in zip(weight.chunk(4), FLIPS, strict=True)]
    pads = ((p, 0, p, 0), (0, p, p, 0), (p, 0, 0, p), (0, p, 0, p))
    crops = [(slice(i, i + height), slice(j, j + width)) for i in (0, p) for j in (0, p)]
    grouped = torch.cat(corners)
    dense = weight.new_zeros(4 * quarter, 4 * quarter, 2 * p + 1, 2 * p + 1)
    for i, (kernel, pad) in enumerate(zip(corners, reversed(pads), strict=True)):
        channels = slice(i * quarter, (i + 1) * quarter)
        dense[channels, channels] = F.pad(kernel, pad)
    x_last, dense_last = (t.to(memory_format=torch.channels_last) for t in (x, dense))
    out = torch.empty_like(x)

    def padded() -> list[Tensor]:
        parts = zip(x.chunk(4, 1), corners, pads, strict=True)
        return [F.conv2d(F.pad(part, pad), w) for part, w, pad in parts]

    def cropped(parts: Sequence[Tensor]) -> Tensor:
        pairs = zip(parts, crops, strict=True)
        return torch.cat([part[:, :, rows, columns] for part, (rows, columns) in pairs], 1)

    return {
        "four": lambda: torch.cat(padded(), 1, out=out),
        "four_fresh": lambda: torch.cat(padded(), 1),
        "four_cropped": lambda: cropped(
            [F.conv2d(part, w, padding=p) for part, w in zip(x.chunk(4, 1), corners, strict=True)]
        ),
        "grouped": lambda: cropped(F.conv2d(x, grouped, padding=p, groups=4).chunk(4, 1)),
        "dense": lambda: F.conv2d(x, dense, padding=p),
        "dense_channels_last": lambda: F.conv2d(x_last, dense_last, padding=p),
    }


def pointwise(x: Tensor, matrix: Tensor) -> Calls:
    """A 1×1 convolution of x (B, C, H, W) by ``matrix``, as conv2d and as matrix products."""
    kernel = matrix[:, :, None, None].contiguous()
    flat = x.flatten(2)
    out = torch.empty_like(flat)
    return {
        "1x1_conv2d": lambda: F.conv2d(x, kernel),
        "1x1_matmul": lambda: torch.matmul(matrix, flat, out=out),
    }


def flops(x: Tensor, weight: Tensor) -> float:
    """Floating-point operations of one triangular convolution or solve, borders counted full."""
    _, per_group, kh, kw = weight.shape
    return 2.0 * x.numel() * per_group * kh * kw
