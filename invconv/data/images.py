"""A set of images in memory."""

import math
import warnings
import zlib
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from invconv.validation import check_choice, whole


@dataclass(frozen=True)
class ImageSet(Dataset[Tensor]):
    """Integer images of one split, a data set of torch whose items are images.

    ``data[i]`` is one image, uint8 (C, H, W); a slice, or a tensor or list of indices, gives
    several, (M, C, H, W). A `torch.utils.data.DataLoader` takes it as it is.

    Attributes:
        name: the data set.
        split: "train", "valid" or "test".
        images: uint8, (N, C, H, W), N at least 1.
        levels: the number of values that a pixel can take; bits per dimension are relative to it.
        version: of ImageNet, 2016 or 2021; None where there is only one.
        source: where the files were read: a folder, or a repository of the hub at a revision.
        groups: what each image is taken from, such as a photograph; () where each is by itself.

    Raises:
        TypeError: if the images are not uint8.
        ValueError: if there are none, if a pixel is not below ``levels``, or if there are not as
            many groups as images.

    >>> from torch.utils.data import DataLoader
    >>> from invconv.data import load
    >>> data = load("digits", "train")
    >>> data[0].shape, data[:5].shape
    (torch.Size([1, 8, 8]), torch.Size([5, 1, 8, 8]))
    >>> next(iter(DataLoader(data, batch_size=64, shuffle=True))).shape
    torch.Size([64, 1, 8, 8])
    """

    name: str
    split: str
    images: Tensor
    levels: int
    version: int | None = None
    source: str = ""
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        which = f"the {self.split} split of {self.name}"
        if not isinstance(self.images, Tensor) or self.images.dtype != torch.uint8:
            kind = self.images.dtype if isinstance(self.images, Tensor) else type(self.images)
            raise TypeError(f"{which} must be a torch.Tensor of uint8, not {kind}")
        if self.images.ndim != 4 or 0 in self.images.shape[1:]:
            raise ValueError(f"{which} must be (N, C, H, W), not {tuple(self.images.shape)}")
        if not len(self.images):
            raise ValueError(f"{which} is empty ({self.source or 'no images were given'})")
        if self.groups and len(self.groups) != len(self.images):
            raise ValueError(
                f"{which} has {len(self.images)} images and {len(self.groups)} groups"
            )
        if not 2 <= (whole(self.levels) or 0) <= 256:
            raise ValueError(f"{which}: levels must be 2 to 256, not {self.levels!r}")
        if self.levels < 256 and (largest := int(self.images.max())) >= self.levels:
            raise ValueError(
                f"{which} has a pixel of {largest}, but {self.levels} levels are 0 to "
                f"{self.levels - 1}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> Tensor:
        return self.images[index]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width


def rearranged(data: ImageSet, pixels: str) -> ImageSet:
    """Return the images with their pixels at other places: controls for what convolutions use.

    Args:
        data: one split.
        pixels: "permuted", by one random permutation for all images and splits, which leaves no
            neighbors: a k×k kernel should have no advantage then; or "shifted", each image
            circularly by a random number of rows and columns, so that all places are alike.

    Raises:
        ValueError: for another word.
    """
    check_choice(pixels, ("permuted", "shifted"), "arrangement of pixels")
    images = data.images.numpy()
    n, channels, height, width = images.shape
    if pixels == "permuted":
        order = np.random.RandomState(0).permutation(height * width)
        images = images.reshape(n, channels, -1)[:, :, order].reshape(images.shape)
    else:
        draw = np.random.RandomState(zlib.crc32(data.split.encode()))
        rows = (np.arange(height) + draw.randint(height, size=(n, 1))) % height
        columns = (np.arange(width) + draw.randint(width, size=(n, 1))) % width
        at = np.arange(n)[:, None, None, None], np.arange(channels)[:, None, None]
        images = images[*at, rows[:, None, :, None], columns[:, None, None, :]]
    return replace(data, images=torch.from_numpy(np.ascontiguousarray(images)))


def shared_images(train: ImageSet, other: ImageSet) -> int:
    """Return how many images of ``other`` are also in ``train``, pixel by pixel."""
    counts = Counter(image.tobytes() for image in other.images.numpy())  # the smaller set
    found = {pixels for image in train.images.numpy() if (pixels := image.tobytes()) in counts}
    return sum(counts[pixels] for pixels in found)


def check_disjoint(train: ImageSet, other: ImageSet, shipped: bool) -> None:
    """Refuse, or warn of, images of ``other`` that are trained on.

    Args:
        train, other: two splits of one data set.
        shipped: whether the set comes with a package, whose splits are ours; of images of one's
            own there is a warning.

    Raises:
        ValueError: if the set is shipped and the splits share an image or a photograph.
    """
    shared = shared_images(train, other)
    both = sorted(set(train.groups) & set(other.groups))
    if not shared and not both:
        return
    what = f"{shared} of the {len(other)} {other.split} images of {other.name} are also trained on"
    if both:
        what = (
            f"{', '.join(both)} of {other.name} is in the {train.split} and {other.split} splits"
        )
    if shipped:
        raise ValueError(f"{what}: its bits per dimension would say nothing about new images")
    warnings.warn(f"{what}; their bits per dimension are too low", stacklevel=2)


def histogram_bits_per_dim(train: ImageSet, test: ImageSet, pooled: bool = False) -> float:
    """Return the bits per dimension of ``test`` under histograms of ``train``.

    The model without any dependence between pixels; every value is counted once more than it
    occurs (Laplace), so that none has probability zero.

    Args:
        train, test: splits of one data set.
        pooled: one histogram of all pixels and channels, instead of one for each.

    Raises:
        ValueError: if the two differ in shape or levels.
    """
    if (train.shape, train.levels) != (test.shape, test.levels):
        raise ValueError(
            f"the splits must have one shape and as many levels, not {train.shape} with "
            f"{train.levels} and {test.shape} with {test.levels}"
        )
    dims = math.prod(train.shape)
    first = torch.arange(dims) * train.levels  # of each dimension's values in the histogram
    if pooled:
        first.zero_()
    chunk = max(1, 2**22 // dims)
    counts = torch.ones(dims * train.levels, dtype=torch.float64)
    for images in train.images.flatten(1).split(chunk):
        counts += torch.bincount((images + first).flatten(), minlength=len(counts))
    counts = counts.view(dims, train.levels)[: 1 if pooled else dims]
    log_prob = torch.log2(counts / counts.sum(1, keepdim=True)).flatten()
    total = 0.0
    for images in test.images.flatten(1).split(chunk):
        total -= log_prob[(images + first).flatten()].sum().item()
    return total / (dims * len(test))
