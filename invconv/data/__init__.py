"""Image data behind one function."""

from collections.abc import Callable

from invconv.data.embedded import digits, patches
from invconv.data.images import ImageSet, histogram_bits_per_dim
from invconv.validation import check_choice

DATASETS: dict[str, Callable[[str], ImageSet]] = {"digits": digits, "patches": patches}
SPLITS = ("train", "valid", "test")


def load(name: str, split: str) -> ImageSet:
    """The images of one split, in memory as uint8.

    Args:
        name: "digits" (8×8, 17 levels) or "patches" (32×32 RGB, 256 levels), both embedded.
        split: "train", "valid" or "test".

    Raises:
        ValueError: for an unknown name or split; the message lists the known ones.

    >>> from invconv.data import load
    >>> load("digits", "test").shape
    (1, 8, 8)
    """
    check_choice(split, SPLITS, "split")
    return DATASETS[check_choice(name, DATASETS, "data set")](split)


__all__ = ["DATASETS", "SPLITS", "ImageSet", "histogram_bits_per_dim", "load"]
