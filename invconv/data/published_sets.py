"""What the files of a data set hold, how they are split, and where they come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from invconv.validation import check_count

if TYPE_CHECKING:
    from PIL.Image import Image

Prepare = Callable[["Image"], "Image"]


@dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face hub.

    Attributes:
        repo: its name.
        folder: the one that holds the parquet files.
        revision: the commit, as read on the repository's own pages.
    """

    repo: str
    folder: str
    revision: str


@dataclass(frozen=True)
class Debian:
    """A data set that Debian packages.

    Attributes:
        package: its name.
        folder: where the package puts the files, below the root of the file system.
    """

    package: str
    folder: str


@dataclass(frozen=True)
class PublishedSet:
    """One published data set.

    Attributes:
        title: its name in a sentence.
        shape: (C, H, W).
        counts: how many images each split of the files has. ImageNet's validation images, the
            field's test set, are in "valid".
        test: the split of the files that is the test set.
        held_out: how many training images are kept for validation; 0 where "valid" is a split
            of the files.
        drawn: whether those are drawn at random (seed 0), instead of being the last ones.
        digests: of the idx files of each split, the SHA-256 of their uncompressed bytes.
        debian: the package that holds it; None where there is none.
        hub: where it can be fetched; None where no repository is known to hold these very images.
        elsewhere: where ``hub`` is None, what to get and from where.
        prepare: what is done to each image first.
    """

    title: str
    shape: tuple[int, int, int]
    counts: Mapping[str, int]
    test: str = "test"
    held_out: int = 0
    drawn: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)
    debian: Debian | None = None
    hub: Hub | None = None
    elsewhere: str = ""
    prepare: Prepare | None = None


def square(size: int) -> Prepare:
    """A function that crops the central square and averages it down to ``size`` × ``size``."""
    check_count(size, "size")

    def resize(picture: "Image") -> "Image":
        side = min(picture.size)
        if side < size:
            raise ValueError(f"it is {picture.width}×{picture.height}, smaller than size {size}")
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        box = (left, top, left + side, top + side)
        from PIL.Image import Resampling

        return picture.resize((size, size), Resampling.BOX, box=box)

    return resize


def held_out(count: int, number: int, drawn: bool) -> tuple[np.ndarray, np.ndarray]:
    """The rows of ``count`` images that are trained on, and the ``number`` that are kept back.

    Both sorted; the last ones are kept back, or those that a permutation of seed 0 puts last
    (numpy's `RandomState`, whose numbers never change).
    """
    order = np.random.RandomState(0).permutation(count) if drawn else np.arange(count)
    return np.sort(order[: count - number]), np.sort(order[count - number :])


PUBLISHED_SETS: dict[str, PublishedSet] = {}
"""The data sets that are read from files, by the name of their folder below the root; filled by
`invconv.data.sets.register`."""
