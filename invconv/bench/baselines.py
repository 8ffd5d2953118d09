"""The strongest that torch offers for what the solver is compared with."""

from collections.abc import Callable, Iterator
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

    Yields:
        A row's values: cudnn_benchmark, True; nothing on a CPU.
    """
    if device.type != "cuda":
        yield {}
        return
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield {"cudnn_benchmark": True}
    finally:
        torch.backends.cudnn.benchmark = before


def corner_weight(channels: int, kernel_size: int, std: float = 0.05) -> Tensor:
    """FInC's kernels at their published initialization, (C, C/4, k, k), seeded by the caller."""
    quarter = channels // 4
    weight = std * torch.randn(channels, quarter, kernel_size, kernel_size)
    last = weight[:, :, -1, -1].view(4, quarter, quarter)
    last.copy_(last.tril(-1) + torch.eye(quarter))
    return weight


def torch_forwards(x: Tensor, weight: Tensor) -> Calls:
    """FInC's four-corner convolution in each way that torch has, everything prepared outside.

    Four padded convolutions (with the output of the concatenation reused, and fresh), four
    with symmetric padding and a crop, one grouped with a crop, one dense with the four kernels
    embedded into zeros, and that one channels-last.

    Args:
        x: (B, C, H, W).
        weight: (C, C/4, k, k) in top-left orientation; groups from tl, tr, bl and br.
    """
    k = weight.shape[2]
    p = k - 1
    height, width = x.shape[2:]
    corners = [w.flip(f) if f else w for w, f in zip(weight.chunk(4), FLIPS, strict=True)]
    corners = [w.contiguous() for w in corners]
    pads = ((p, 0, p, 0), (0, p, p, 0), (p, 0, 0, p), (0, p, 0, p))
    crops = [(slice(i, i + height), slice(j, j + width)) for i in (0, p) for j in (0, p)]
    grouped = torch.cat(corners)
    dense = _embed(corners)
    dense_last = dense.to(memory_format=torch.channels_last)
    x_last = x.to(memory_format=torch.channels_last)
    out = torch.empty_like(x)

    def padded() -> list[Tensor]:
        parts = zip(x.chunk(4, 1), corners, pads, strict=True)
        return [F.conv2d(F.pad(part, pad), w) for part, w, pad in parts]

    def cropped(parts: list[Tensor]) -> Tensor:
        pairs = zip(parts, crops, strict=True)
        return torch.cat([part[:, :, rows, columns] for part, (rows, columns) in pairs], 1)

    return {
        "four": lambda: torch.cat(padded(), 1, out=out),
        "four fresh": lambda: torch.cat(padded(), 1),
        "four cropped": lambda: cropped(
            [F.conv2d(part, w, padding=p) for part, w in zip(x.chunk(4, 1), corners, strict=True)]
        ),
        "grouped": lambda: cropped(list(F.conv2d(x, grouped, padding=p, groups=4).chunk(4, 1))),
        "dense": lambda: F.conv2d(x, dense, padding=p),
        "dense channels-last": lambda: F.conv2d(x_last, dense_last, padding=p),
    }


def _embed(corners: list[Tensor]) -> Tensor:
    """One (C, C, 2k−1, 2k−1) kernel that does what the four corner kernels do."""
    quarter, _, k, _ = corners[0].shape
    dense = corners[0].new_zeros(4 * quarter, 4 * quarter, 2 * k - 1, 2 * k - 1)
    for group, kernel in enumerate(corners):
        channels = slice(group * quarter, (group + 1) * quarter)
        down, right = (k - 1) * (group // 2), (k - 1) * (group % 2)
        dense[channels, channels, down : down + k, right : right + k] = kernel
    return dense


def pointwise(x: Tensor, matrix: Tensor) -> Calls:
    """A 1×1 convolution as conv2d and as a batched matrix product.

    Args:
        x: (B, C, H, W).
        matrix: (C, C).
    """
    kernel = matrix[:, :, None, None].contiguous()
    flat = x.flatten(2)
    out = torch.empty_like(flat)
    return {
        "1x1 conv2d": lambda: F.conv2d(x, kernel),
        "1x1 matmul": lambda: torch.matmul(matrix, flat, out=out),
    }


def flops(x: Tensor, weight: Tensor) -> float:
    """Floating-point operations of one triangular convolution or solve, borders counted full."""
    _, per_group, kh, kw = weight.shape
    return 2.0 * x.numel() * per_group * kh * kw
