"""Photographs that come with scikit-learn and scikit-image: nothing is downloaded."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from invconv.data.images import ImageSet
from invconv.data.sets import DataSet, ranked, register
from invconv.validation import whole

CROP = 64
"""The side of a crop before it is averaged down."""
STRIDE = {"train": 16, "valid": 32, "test": CROP}
"""Pixels between crops; those of the test set are disjoint."""
SIZE = 32
STEPS = 2000


@dataclass(frozen=True)
class Photograph:
    """One photograph.

    Attributes:
        name: two views of one scene have one name.
        split: the only one that it is in.
        license: with the author or origin.
        load: returns uint8, (H, W, 3).
    """

    name: str
    split: str
    license: str
    load: Callable[[], np.ndarray]


def _sklearn(file: str) -> np.ndarray:
    from sklearn.datasets import load_sample_image  # not at the top: every job would load it

    return load_sample_image(file)


def _skimage(name: str) -> np.ndarray:
    from skimage import data

    return getattr(data, name)()


def _view(number: int) -> np.ndarray:
    from skimage import data

    return data.stereo_motorcycle()[number]


MIDDLEBURY = "Middlebury Stereo Datasets 2014, Scharstein et al.; no license stated"
PHOTOGRAPHS = (
    Photograph("china", "train", "CC BY 2.0, danielbuechele", partial(_sklearn, "china.jpg")),
    Photograph("flower", "train", "CC BY 2.0, vultilion", partial(_sklearn, "flower.jpg")),
    Photograph("motorcycle", "train", MIDDLEBURY, partial(_view, 0)),
    Photograph("motorcycle", "train", MIDDLEBURY, partial(_view, 1)),
    Photograph("chelsea", "valid", "CC0, Stefan van der Walt", partial(_skimage, "chelsea")),
    Photograph("astronaut", "test", "public domain, NASA", partial(_skimage, "astronaut")),
    Photograph("coffee", "test", "CC0, Rachel Michetti", partial(_skimage, "coffee")),
    Photograph("rocket", "test", "public domain, SpaceX", partial(_skimage, "rocket")),
)
"""The color photographs of things at a human scale in both packages. What scikit-image has from
telescopes and microscopes would be two thirds of all crops. The flower is in training because half
of it is nearly black: a flow that has not seen such pixels may need more for them than the 8 bits
of a model that knows nothing, and this one photograph would decide the mean of the test images."""


def photographs(split: str, size: int = SIZE) -> ImageSet:
    """RGB crops of eight photographs, 64×64 pixels averaged down to ``size``, 256 levels.

    No photograph is in two splits. Crops start every 16 pixels to train (4110, overlapping),
    every 32 to validate (104) and every 64 to test (178, disjoint). `ImageSet.groups` names the
    photograph of each.

    Args:
        split: "train", "valid" or "test".
        size: a divisor of 64, at least 2.

    Raises:
        ValueError: for another size.
    """
    if (whole(size) or 0) < 2 or CROP % size:
        raise ValueError(f"size must be 2, 4, 8, 16, 32 or 64, not {size!r}")
    found, groups = [], []
    for one in PHOTOGRAPHS:
        if one.split == split:
            crops = _crops(one, STRIDE[split])
            found.append(_averaged(crops, CROP // size))
            groups += [one.name] * len(crops)
    return ImageSet("photographs", split, torch.cat(found), 256, groups=tuple(groups))


@lru_cache(maxsize=len(PHOTOGRAPHS))
def _crops(photograph: Photograph, stride: int) -> Tensor:
    """uint8, (N, 3, 64, 64)."""
    image = torch.from_numpy(photograph.load().copy()).permute(2, 0, 1)
    crops = image.unfold(1, CROP, stride).unfold(2, CROP, stride)
    return crops.permute(1, 2, 0, 3, 4).reshape(-1, 3, CROP, CROP)


def _averaged(images: Tensor, factor: int) -> Tensor:
    """Means over ``factor`` × ``factor`` pixels, rounded."""
    if factor == 1:
        return images
    return torch.nn.functional.avg_pool2d(images.float(), factor).round().to(torch.uint8)


PHOTOGRAPHS_SET = register(
    DataSet(
        name="photographs",
        title="photographs",
        options=("size",),
        shape=(3, SIZE, SIZE),
        load=photographs,
        budgets={"ranked": ranked(STEPS), "long": ranked(4 * STEPS)},
        sides=(16,),
    )
)
