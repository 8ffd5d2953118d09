"""Handwritten digits that come with scikit-learn: nothing is downloaded."""

from functools import lru_cache

import torch
from torch import Tensor

from invconv.data.images import ImageSet
from invconv.data.sets import DataSet, register

DIGITS_SPLIT = {"train": slice(0, 1297), "valid": slice(1297, 1547), "test": slice(1547, 1797)}


@lru_cache(maxsize=1)
def _digits() -> Tensor:
    from sklearn.datasets import load_digits  # not at the top: every job would load it

    images = torch.from_numpy(load_digits().images).to(torch.uint8).unsqueeze(1)
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]


def digits(split: str) -> ImageSet:
    """8×8 handwritten digits with 17 gray levels, 1797 images in a fixed random order.

    1297 to train, 250 to validate, 250 to test; no image is in two splits. (UCI's
    "Optical Recognition of Handwritten Digits", test part, as scikit-learn ships it.)
    """
    return ImageSet("digits", split, _digits()[DIGITS_SPLIT[split]], levels=17)


DIGITS = register(
    DataSet(
        name="digits",
        title="digits 8×8",
        shape=(1, 8, 8),
        levels=17,
        load=digits,
    )
)
