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
        images: uint8, (N, C, H, W).
        levels: the number of values that a pixel can take; bits per dimension are relative to it.
    """

    name: str
    split: str
    images: Tensor
    levels: int

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
    counts = torch.ones(math.prod(train.shape), train.levels, dtype=torch.float64)
    pixels = train.images.flatten(1).T.long()
    counts.scatter_add_(1, pixels, torch.ones(pixels.shape, dtype=torch.float64))
    log_prob = torch.log2(counts / counts.sum(1, keepdim=True))
    return -log_prob.gather(1, test.images.flatten(1).T.long()).mean().item()
