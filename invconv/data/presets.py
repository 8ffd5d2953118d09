"""The published data sets: what their files hold, how they are split, and where they come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from invconv.validation import check_count

Prepare = Callable[[Image.Image], Image.Image]


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
class Preset:
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
    hub: Hub | None = None
    elsewhere: str = ""
    prepare: Prepare | None = None


def crop_celeba(picture: Image.Image) -> Image.Image:
    """The 148×148 crop of an aligned 178×218 CelebA image at row 40, column 15, as 64×64.

    The crop of Dinh et al., "Density estimation using Real NVP" (2017), section 4.1, where their
    code has it; resized by Pillow's bilinear filter, which averages over what it shrinks.
    """
    if picture.size != (178, 218):
        raise ValueError(f"it is {picture.width}×{picture.height}, not CelebA's aligned 178×218")
    box = (15, 40, 15 + 148, 40 + 148)
    return picture.resize((64, 64), Image.Resampling.BILINEAR, box=box)


def square(size: int) -> Prepare:
    """A function that crops the central square and averages it down to ``size`` × ``size``."""
    check_count(size, "size")

    def resize(picture: Image.Image) -> Image.Image:
        side = min(picture.size)
        if side < size:
            raise ValueError(f"it is {picture.width}×{picture.height}, smaller than size {size}")
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        box = (left, top, left + side, top + side)
        return picture.resize((size, size), Image.Resampling.BOX, box=box)

    return resize


def held_out(count: int, number: int, drawn: bool) -> tuple[np.ndarray, np.ndarray]:
    """The rows of ``count`` images that are trained on, and the ``number`` that are kept back.

    Both sorted; the last ones are kept back, or those that a permutation of seed 0 puts last
    (numpy's `RandomState`, whose numbers never change).
    """
    order = np.random.RandomState(0).permutation(count) if drawn else np.arange(count)
    return np.sort(order[: count - number]), np.sort(order[count - number :])


def _imagenet(size: int, version: int, hub: Hub | None = None) -> Preset:
    if version == 2016:
        counts = {"train": 1_281_149, "valid": 49_999}
        elsewhere = (
            f"unpack train_{size}x{size}.tar and valid_{size}x{size}.tar of van den Oord et al. "
            "(2016), which image-net.org no longer offers,"
        )
    else:
        counts = {"train": 1_281_167, "valid": 50_000}
        elsewhere = (
            f"log in at image-net.org/download-images, get the downsampled images {size}x{size} "
            f"(train and val, npz; Chrabaszcz et al., resized by averaging), and unpack them"
        )
    return Preset(
        title=f"the {version} version of imagenet{size}",
        shape=(3, size, size),
        counts=counts,
        test="valid",
        held_out=20_000,
        drawn=True,
        hub=hub,
        elsewhere="" if hub else elsewhere,
    )


PRESETS = {
    "mnist": Preset(
        title="mnist",
        shape=(1, 28, 28),
        counts={"train": 60_000, "test": 10_000},
        held_out=10_000,
        hub=Hub("ylecun/mnist", "mnist", "77f3279092a1c1579b2250db8eafed0ad422088c"),
    ),
    "cifar10": Preset(
        title="cifar10",
        shape=(3, 32, 32),
        counts={"train": 50_000, "test": 10_000},
        held_out=10_000,
        hub=Hub("uoft-cs/cifar10", "plain_text", "0b2714987fa478483af9968de7c934580d0bb9a2"),
    ),
    "imagenet32": _imagenet(32, 2016),
    "imagenet32_2021": _imagenet(32, 2021),
    "imagenet64": _imagenet(64, 2016),
    "imagenet64_2021": _imagenet(
        64,
        2021,
        Hub(
            "sradc/imagenet_resized_64x64",
            "data",
            "0340ac5c2d913684cbce7da9eaad5e39479f349a",
        ),
    ),
    "celeba": Preset(
        title="celeba",
        shape=(3, 64, 64),
        counts={"train": 162_770, "valid": 19_867, "test": 19_962},
        hub=Hub(
            "flwrlabs/celeba",
            "img_align+identity+attr",
            "2d738f56e0e7f925ea36ae7c808ea925264aacec",
        ),
        prepare=crop_celeba,
    ),
}
"""The data sets that are read from files, by the name of their folder below the root.

MNIST's and CIFAR-10's last 10,000 training images validate, as in FInC's code; so do 20,000 drawn
training images of ImageNet (FInC's code draws as many). Counts and kinds: 2016, van den Oord,
Kalchbrenner and Kavukcuoglu, "Pixel recurrent neural networks"; 2021, what image-net.org offers
instead: Chrabaszcz, Loshchilov and Hutter, "A downsampled variant of ImageNet" (arXiv 1707.08819).
The two differ in their filter, and so in what their bits per dimension mean.
"""
