"""A set of images in memory."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """Integer images of one split.

    Attributes:
        name: the data set.
        split: "train", "valid" or "test".
        images: uint8, (N, C, H, W), N at least 1.
        levels: the number of values that a pixel can take; bits per dimension are relative to it.
        version: of ImageNet, 2016 or 2021; None where there is only one.
        source: where the files were read: a folder, or a repository of the hub at a revision.

    Raises:
        TypeError: if the images are not uint8.
        ValueError: if there are none, or if a pixel is not below ``levels``.
    """

    name: str
    split: str
    images: Tensor
    levels: int
    version: int | None = None
    source: str = ""

    def __post_init__(self) -> None:
        which = f"the {self.split} split of {self.name}"
        if self.images.dtype != torch.uint8:
            raise TypeError(f"{which} must be uint8, not {self.images.dtype}")
        if self.images.ndim != 4 or 0 in self.images.shape[1:]:
            raise ValueError(f"{which} must be (N, C, H, W), not {tuple(self.images.shape)}")
        if not len(self.images):
            raise ValueError(f"{which} is empty ({self.source or 'no images were given'})")
        if not 2 <= self.levels <= 256:
            raise ValueError(f"{which}: levels must be 2 to 256, not {self.levels}")
        if self.levels < 256 and (largest := int(self.images.max())) >= self.levels:
            raise ValueError(
                f"{which} has a pixel of {largest}, but {self.levels} levels are 0 to "
                f"{self.levels - 1}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width


def histogram_bits_per_dim(train: ImageSet, test: ImageSet) -> float:
    """Bits per dimension of ``test`` under one histogram per pixel and channel of ``train``.

    The model without any dependence between pixels; every value is counted once more than it
    occurs (Laplace), so that none has probability zero.
    """
    dims = math.prod(train.shape)
    first = torch.arange(dims) * train.levels  # of each dimension's values in the histogram
    chunk = max(1, 2**22 // dims)
    counts = torch.ones(dims * train.levels, dtype=torch.float64)
    for images in train.images.flatten(1).split(chunk):
        counts += torch.bincount((images + first).flatten(), minlength=len(counts))
    counts = counts.view(dims, train.levels)
    log_prob = torch.log2(counts / counts.sum(1, keepdim=True)).flatten()
    total = 0.0
    for images in test.images.flatten(1).split(chunk):
        total -= log_prob[(images + first).flatten()].sum().item()
    return total / (dims * len(test))
