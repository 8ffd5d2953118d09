"""Real images that come with scikit-learn: nothing is downloaded."""

from functools import lru_cache

import torch
from torch import Tensor

from invconv.data.images import ImageSet
from invconv.data.sets import Budget, DataSet, budget, register

DIGITS_SPLIT = {"train": slice(0, 1297), "valid": slice(1297, 1547), "test": slice(1547, 1797)}

PATCH_SIZE = 32
STRIPS = {"train": (0, 448), "valid": (448, 544), "test": (544, 640)}
STRIDE = {"train": 8, "valid": 16, "test": 16}


@lru_cache(maxsize=1)
def _digits() -> Tensor:
    from sklearn.datasets import load_digits  # not at the top: every job would load it

    images = torch.from_numpy(load_digits().images).to(torch.uint8).unsqueeze(1)
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]


def digits(split: str) -> ImageSet:
    """8×8 handwritten digits with 17 grey levels, 1797 images in a fixed random order.

    1297 to train, 250 to validate, 250 to test; no image is in two splits. (UCI's
    "Optical Recognition of Handwritten Digits", test part, as scikit-learn ships it.)
    """
    return ImageSet("digits", split, _digits()[DIGITS_SPLIT[split]], levels=17)


@lru_cache(maxsize=1)
def _photographs() -> list[Tensor]:
    from sklearn.datasets import load_sample_images

    return [torch.tensor(photo).permute(2, 0, 1) for photo in load_sample_images().images]


def patches(split: str) -> ImageSet:
    """32×32 RGB patches of scikit-learn's two 427×640 photographs, 256 levels.

    The splits are vertical strips of both photographs, columns 0–447, 448–543 and 544–639, so
    that no pixel is in two of them; patches start every 8 pixels in the training strip (5300
    patches, overlapping) and every 16 in the others (250 each).
    """
    first, last = STRIPS[split]
    stride = STRIDE[split]
    found = [
        photo[:, :, first:last]
        .unfold(1, PATCH_SIZE, stride)
        .unfold(2, PATCH_SIZE, stride)
        .permute(1, 2, 0, 3, 4)
        .reshape(-1, 3, PATCH_SIZE, PATCH_SIZE)
        for photo in _photographs()
    ]
    return ImageSet("patches", split, torch.cat(found).contiguous(), levels=256)


def _long(levels: int, training_steps: int) -> Budget:
    """Long enough to compare bits per dimension, seed by seed."""
    return budget(
        levels,
        4,
        64,
        training_steps=training_steps,
        batch_size=64,
        learning_rate=2e-3,
        warmup_steps=100,
        schedule="cosine",
        evaluate_every=250,
        checkpoint_every=250,
    )


DIGITS = register(
    DataSet(
        name="digits",
        title="digits 8×8",
        shape=(1, 8, 8),
        levels=17,
        load=digits,
        budgets={"embedded_long": _long(2, 3000)},
    )
)
PATCHES = register(
    DataSet(
        name="patches",
        title="patches 32×32",
        shape=(3, PATCH_SIZE, PATCH_SIZE),
        load=patches,
        budgets={"embedded_long": _long(3, 2000)},
    )
)
