"""The most that one triangular convolution can do, in closed form.

A linear flow z = S(Mx + b) with a unit triangular convolution M and a Gaussian base is a problem
of least squares: each pixel is predicted from those that the mask lets it see, and the likelihood
depends on the variance of what is left.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Offset = tuple[int, int]
"""Rows down and columns right of the pixel that is predicted."""
CHUNK = 1 << 25
"""Numbers of a matrix of features that is made at once."""
DIRECTIONS: tuple[Offset, ...] = ((-1, -1), (-1, 1), (1, -1), (1, 1))
"""Where FInC's four groups of channels look, (rows, columns)."""


@dataclass(frozen=True)
class Mask:
    """What an output channel sees besides its own pixel.

    Attributes:
        groups: for each of G equal groups of channels the offsets at which it sees every channel
            of its group. At offset (0, 0) it sees those before it.
        upper: whether it sees those behind it there instead.
    """

    groups: tuple[tuple[Offset, ...], ...]
    upper: bool = False

    @property
    def offsets(self) -> tuple[Offset, ...]:
        """Every offset of any group, (0, 0) first."""
        return tuple(dict.fromkeys([(0, 0), *(o for group in self.groups for o in group)]))


def quarter_plane(k: int, direction: Offset = (-1, -1)) -> Mask:
    """Return the k×k corner of FInC, CInC, Inverse-Flow and Emerging's square mask.

    >>> from invconv.layers.optimal import quarter_plane
    >>> quarter_plane(2).groups
    (((0, -1), (-1, 0), (-1, -1)),)
    """
    down, right = direction
    taps = [(down * i, right * j) for i in range(k) for j in range(k)]
    return Mask((tuple(taps[1:]),))


def half_plane(k: int) -> Mask:
    """Return the raster mask of an odd k: (k−1)/2 rows above, and the pixels to the left."""
    half = k // 2
    above = [(-i, j) for i in range(half, 0, -1) for j in range(-half, half + 1)]
    return Mask(((*above, *((0, -j) for j in range(half, 0, -1))),))


def four_corners(k: int) -> Mask:
    """Return FInC's mask: four groups of channels, each with a corner of its own."""
    return Mask(tuple(quarter_plane(k, direction).groups[0] for direction in DIRECTIONS))


@dataclass(frozen=True)
class Moments:
    """Second moments of pixels at some offsets.

    Attributes:
        offsets: O of them.
        channels: C.
        gram: float64, (O·C, O·C), sums over images and pixels; what is outside counts as zero.
        count: how many pixels were summed over.
    """

    offsets: tuple[Offset, ...]
    channels: int
    gram: Tensor
    count: int

    def place(self, offset: Offset, channel: int) -> int:
        """Return the line of a feature."""
        return self.offsets.index(offset) * self.channels + channel


@dataclass(frozen=True)
class Optimum:
    """The convolution of least squares.

    Attributes:
        mask: what it sees.
        weight: float64, (C, O, C), the taps at ``mask.offsets``; 1 at the pixel itself, and z is
            their sum.
        variance: float64, (C,), of z on the images it was fitted to.
    """

    mask: Mask
    weight: Tensor
    variance: Tensor

    @property
    def taps(self) -> int:
        """How many offsets an output channel sees besides its own pixel."""
        return len(self.mask.groups[0])


def features(images: Tensor, offsets: Sequence[Offset]) -> Iterator[Tensor]:
    """Yield the pixels at ``offsets`` of each pixel of some images, (O·C, images·H·W).

    Args:
        images: float64, (N, C, H, W).
        offsets: O of them; what is outside is zero.
    """
    _, channels, height, width = images.shape
    reach = max(max(map(abs, offset)) for offset in offsets)
    most = max(1, CHUNK // (len(offsets) * channels * height * width))
    for some in images.split(most):
        padded = torch.nn.functional.pad(some, [reach] * 4)
        views = [
            padded[:, :, reach + i : reach + i + height, reach + j : reach + j + width]
            for i, j in offsets
        ]
        yield torch.stack(views).permute(0, 2, 1, 3, 4).reshape(len(offsets) * channels, -1)


def moments(images: Tensor, offsets: Sequence[Offset], noise: float) -> Moments:
    """Sum the products of all pairs of features.

    Args:
        images: float64, (N, C, H, W), their mean removed.
        offsets: (0, 0) first.
        noise: the variance of independent noise on every pixel, which is added exactly.
    """
    count, channels, height, width = images.shape
    size = len(offsets) * channels
    gram = torch.zeros(size, size, dtype=torch.float64)
    for found in features(images, offsets):
        gram.addmm_(found, found.T)
    variances = noise * count * _inside(offsets, height, width)
    gram.diagonal().add_(variances.repeat_interleave(channels))
    return Moments(tuple(offsets), channels, gram, count * height * width)


def _inside(offsets: Sequence[Offset], height: int, width: int) -> Tensor:
    """How many pixels of an image have a pixel at each offset, float64, (O,)."""
    counts = [max(0, height - abs(i)) * max(0, width - abs(j)) for i, j in offsets]
    return torch.tensor(counts, dtype=torch.float64)


def fit(images: Tensor, mask: Mask, noise: float) -> Optimum:
    """Return the convolution that leaves least, by the normal equations of each channel.

    Args:
        images: float64, (N, C, H, W), their mean removed.
        mask: what an output channel sees.
        noise: as in `moments`.

    Raises:
        ValueError: if the channels are not a multiple of the mask's groups.
    """
    channels, groups = images.shape[1], len(mask.groups)
    if channels % groups:
        raise ValueError(f"channels must be a multiple of {groups}, not {channels}")
    size = channels // groups
    weight = torch.zeros(channels, len(mask.offsets), channels, dtype=torch.float64)
    variance = torch.zeros(channels, dtype=torch.float64)
    for number, offsets in enumerate(mask.groups):
        first = number * size
        found = moments(images[:, first : first + size], ((0, 0), *offsets), noise)
        for channel in range(size):
            before = range(channel + 1, size) if mask.upper else range(channel)
            seen = [((0, 0), c) for c in before]
            seen += [(offset, c) for offset in offsets for c in range(size)]
            taps, left = _regression(found, channel, seen)
            variance[first + channel] = left
            weight[first + channel, 0, first + channel] = 1
            for (offset, c), tap in zip(seen, taps, strict=True):
                weight[first + channel, mask.offsets.index(offset), first + c] = -tap
    return Optimum(mask, weight, variance)


def _regression(
    found: Moments, channel: int, seen: Sequence[tuple[Offset, int]]
) -> tuple[list[float], float]:
    """The coefficients of what a channel is predicted from, and the variance that is left."""
    own = found.place((0, 0), channel)
    square = found.gram[own, own]
    if not seen:
        return [], (square / found.count).item()
    places = torch.tensor([found.place(*one) for one in seen])
    cross = found.gram[places, own]
    normal = found.gram[places][:, places]
    taps = torch.linalg.lstsq(normal, cross[:, None], driver="gelsd").solution[:, 0]
    return taps.tolist(), ((square - cross @ taps) / found.count).item()


def bits_per_image(optimum: Optimum, images: Tensor, levels: int, noise: float) -> Tensor:
    """Return the expected bits per dimension of each image, float64, (N,).

    Expected over the noise of dequantization; the density is a Gaussian with the variance of each
    channel that the fit left.

    Args:
        optimum: a fit.
        images: float64, (N, C, H, W) in units of the whole range, the training mean removed.
        levels: how many values a pixel can take.
        noise: the variance of the noise, as in `moments`.
    """
    _, channels, height, width = images.shape
    flat = optimum.weight.reshape(channels, -1)
    squares = [
        (flat @ found).reshape(channels, -1, height * width).square().mean(2).T
        for found in features(images, optimum.mask.offsets)
    ]
    inside = _inside(optimum.mask.offsets, height, width) / (height * width)
    left = torch.cat(squares) + noise * (optimum.weight.square().sum(2) @ inside)
    scale = optimum.variance
    nats = 0.5 * torch.log(2 * math.pi * scale) + left / (2 * scale)
    return math.log2(levels) + nats.mean(1) / math.log(2)


def matrix(optimum: Optimum, height: int, width: int) -> Tensor:
    """Return M as a dense matrix, float64, (C·H·W, C·H·W)."""
    channels = optimum.weight.shape[0]
    size = height * width
    dense = torch.zeros(channels, size, channels, size, dtype=torch.float64)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for number, (i, j) in enumerate(optimum.mask.offsets):
        inside = (rows + i >= 0) & (rows + i < height) & (columns + j >= 0) & (columns + j < width)
        here = (rows * width + columns)[inside]
        there = ((rows + i) * width + columns + j)[inside]
        dense[:, here, :, there] += optimum.weight[:, number]
    return dense.reshape(channels * size, channels * size)
