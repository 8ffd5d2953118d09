"""Image data behind one function."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

# isort: off
# the data sets, in the order in which pages show them
from invconv.data.digits import DIGITS as DIGITS
from invconv.data.photographs import PHOTOGRAPHS_SET as PHOTOGRAPHS_SET
from invconv.data.fashion_mnist import FASHION_MNIST as FASHION_MNIST
from invconv.data.mnist import MNIST as MNIST
from invconv.data.cifar10 import CIFAR10 as CIFAR10
from invconv.data.imagenet import IMAGENET32 as IMAGENET32, IMAGENET64 as IMAGENET64
from invconv.data.celeba import CELEBA as CELEBA
from invconv.data.own import FOLDER as FOLDER
# isort: on

from invconv.data.augment import augment
from invconv.data.images import (
    ImageSet,
    check_disjoint,
    histogram_bits_per_dim,
    rearranged,
    shared_images,
)
from invconv.data.loader import Loader, batch_indices
from invconv.data.own import own_files
from invconv.data.published_sets import PUBLISHED_SETS, held_out, square
from invconv.data.saving import save_images
from invconv.data.sets import DATASETS, Budget, DataSet, budget, budgets, data_set, register
from invconv.data.sources import download, locate
from invconv.files import user_path
from invconv.validation import check_choice, check_options, whole

EMBEDDED = {name: data.load for name, data in DATASETS.items() if data.load is not None}
"""The data sets that come with the package, each with the function that loads a split."""
SPLITS = ("train", "valid", "test")
VERSIONS = (2016, 2021)


def load(name: str, split: str, root: str | Path | None = None, **options: Any) -> ImageSet:
    """The images of one split, in memory as uint8.

    | name | shape | train / valid / test |
    |---|---|---|
    | digits, embedded | 1×8×8, 17 levels | 1297 / 250 / 250 |
    | photographs, embedded | 3×32×32, or ``size`` | 4110 / 104 / 178 |
    | fashion_mnist, mnist | 1×28×28 | 50,000 / the last 10,000 / 10,000 |
    | cifar10 | 3×32×32 | 40,000 / the last 10,000 / 10,000 |
    | imagenet32, imagenet64, 2016 | 3×n×n | 1,261,149 / 20,000 drawn / 49,999 |
    | imagenet32, imagenet64, 2021 | 3×n×n | 1,261,167 / 20,000 drawn / 50,000 |
    | celeba, cropped (`celeba.crop_celeba`) | 3×64×64 | 162,770 / 19,867 / 19,962 |
    | folder | that of the first image | see `own.own_files` |

    An option of None is one that is not given.

    Args:
        name: a key of `DATASETS`.
        split: "train", "valid" or "test"; ImageNet's validation images are the test set.
        root: where local copies are, ``root/name`` each (``root/name_2021`` for that version), by
            default what the environment variable INVCONV_DATA says; then the Hugging Face cache
            and the hub are tried. Embedded sets and ``path`` need none.
        path: a folder to read instead: parquet files as on the hub, image-net.org's .npz files,
            idx files as MNIST and EMNIST have them, or folders of images; for "folder" also one
            file.
        version: of ImageNet, 2016 (van den Oord et al.; the field's published figures) or 2021
            (Chrabaszcz et al.). There is no default: their bits per dimension differ.
        bits: how many of the eight bits of a value are kept, the highest ones (Kingma and
            Dhariwal, "Glow", 2018, keep 5 of CelebA's); there are 2^bits levels.
        size: of "folder": crop the central square and average it down to size × size; of
            "photographs": a divisor of 64, 32 by default.
        levels: of "folder": the values are 0 to levels − 1, not 0 to 255.
        pixels: of every set, "permuted" or "shifted", see `images.rearranged`.

    Raises:
        FileNotFoundError: if the files are nowhere; the message names the command to fetch them.
        ImportError: if parquet files or the hub are needed without the extra "data".
        TypeError: for an option that the data set does not have.
        ValueError: for an unknown name or split, a version that is missing, images that are
            broken, of a wrong shape, too few or too many.

    >>> from invconv.data import load
    >>> load("digits", "test").shape
    (1, 8, 8)
    """
    check_choice(split, SPLITS, "split")
    options = {option: value for option, value in options.items() if value is not None}
    pixels = options.pop("pixels", None)
    found = _load(name, split, root, options)
    return found if pixels is None else rearranged(found, pixels)


def _load(name: str, split: str, root: str | Path | None, options: dict[str, Any]) -> ImageSet:
    data = data_set(name)
    key = _key(data, options)
    if data.load is not None:
        return data.load(split, **options)
    from invconv.data.decode import read_images  # Pillow, which timing does without

    bits, levels = whole(options.get("bits", 8)), whole(options.get("levels"))
    if "levels" in options and levels not in range(2, 257):
        raise ValueError(f"levels must be 2 to 256, not {options['levels']!r}")
    if bits is None or not 1 <= bits <= 8 or (bits < 8 and levels is not None):
        raise ValueError(f"bits must be 1 to 8, and 8 if levels is given, not {options['bits']!r}")
    if not data.published_sets:
        if not options.get("path"):
            raise ValueError(
                f"{name} needs a folder or a file of images of one's own: dataset.path=FOLDER in "
                "a sweep, path=FOLDER in Python"
            )
        files, keep, source = own_files(user_path(options["path"]), split)
        prepare = square(options["size"]) if "size" in options else None
        images = read_images(files, keep, None, prepare)
    else:
        published = PUBLISHED_SETS[key]
        splits, source = locate(key, root, options.get("path"))
        taken = published.test if split == "test" else "train" if published.held_out else split
        keep = np.arange(published.counts[taken])
        if taken == "train":
            keep = held_out(len(keep), published.held_out, published.drawn)[split == "valid"]
        images = read_images(splits[taken], keep, published.shape, published.prepare)
    if bits < 8:
        images >>= 8 - bits
    tensor = torch.from_numpy(images)
    return ImageSet(name, split, tensor, levels or 2**bits, options.get("version"), source)


def label(
    name: str,
    version: int | None = None,
    bits: int | None = None,
    path: str | Path | None = None,
    size: int | None = None,
    pixels: str | None = None,
) -> str:
    """The name under which results on a data set are kept, so that unlike is not compared.

    ``name`` alone is what the published figures are about: eight bits, ImageNet's 2016 version.
    A folder of one's own is known by the last part of its ``path``.

    >>> from invconv.data import label
    >>> label("imagenet32", version=2016), label("imagenet32", version=2021, bits=5)
    ('imagenet32', 'imagenet32_2021_5bit')
    >>> label("photographs", size=16)
    'photographs_16x16'
    """
    own = f"folder_{Path(path).stem}" if name == "folder" and path is not None else name
    own = own if size is None else f"{own}_{size}x{size}"
    versioned = own if version in (None, 2016) else f"{own}_{version}"
    kept = versioned if bits in (None, 8) else f"{versioned}_{bits}bit"
    return kept if pixels is None else f"{kept}_{pixels}"


def fetch(name: str, root: str | Path | None = None, version: int | None = None) -> Path:
    """Download a data set from a Debian mirror or the Hugging Face hub, or resume a download.

    Args:
        name: "fashion_mnist", "mnist", "cifar10", "imagenet64" (2021) or "celeba". A Debian
            package (of Fashion-MNIST) is downloaded by apt-get and unpacked; that needs no root.
        root: the folder to put it below, in ``root/name``; by default what the environment
            variable INVCONV_DATA says, otherwise a cache of the user.
        version: of ImageNet.

    Returns:
        The folder with the files.

    Raises:
        ConnectionError: if neither a Debian mirror nor the hub can be reached.
        FileNotFoundError: if no repository of the hub is known to hold these images; the message
            says where else they are.
        ImportError: without the extra "data".
        ValueError: for a set that is not fetched, and if what came has too few images.
    """
    key = _key(data_set(name), {} if version is None else {"version": version})
    if key not in PUBLISHED_SETS:
        raise ValueError(f"{name} is not fetched: it is embedded, or images of one's own")
    return download(key, root)


def _key(data: DataSet, options: dict[str, Any]) -> str:
    """The data set's key in `PUBLISHED_SETS`, once its options are known to be its own."""
    check_options(options, data.options, data.name)
    if "version" not in data.options or not data.published_sets:
        return data.name
    version = options.get("version")
    if version not in VERSIONS:
        raise ValueError(
            f"{data.name} exists in two versions whose bits per dimension cannot be compared: "
            f"give version=2016 or version=2021, not {version!r} (in a sweep "
            "dataset.version=2016, to fetch it --version 2021)"
        )
    return label(data.name, version)


__all__ = [
    "DATASETS",
    "SPLITS",
    "Budget",
    "DataSet",
    "ImageSet",
    "Loader",
    "augment",
    "batch_indices",
    "budget",
    "budgets",
    "check_disjoint",
    "data_set",
    "fetch",
    "histogram_bits_per_dim",
    "label",
    "load",
    "rearranged",
    "register",
    "save_images",
    "shared_images",
]
