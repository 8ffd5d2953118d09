"""Images of one's own, in a folder or a file."""

from pathlib import Path

import numpy as np

from invconv.data.folders import split_files
from invconv.data.formats import FORMATS, count_images, file_format
from invconv.data.published_sets import held_out
from invconv.data.sets import DataSet, register


def own_files(path: Path, split: str) -> tuple[list[str], np.ndarray, str]:
    """The files that hold a split, its rows in them, and the path.

    A folder with files or folders named after "train", "valid" and "test" (see
    `folders.split_files`) is split that way; where only "valid" is missing, a tenth of the
    training images, drawn at random with seed 0, is taken for it. Where nothing names a split,
    as in a single file, a tenth of all images tests, another validates, both drawn so.

    Raises:
        FileNotFoundError: if there is no such path, or no images are there.
        ValueError: if the folder has other splits, but not this one.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such folder or file: {path}")
    suffixes = [suffix for suffixes in FORMATS for suffix in suffixes]
    if path.is_file():
        splits = {"": [str(path)]} if file_format(path.name) in suffixes else {}
    else:
        splits = split_files(path)
    if not splits:
        raise FileNotFoundError(f"{path} holds no images ({', '.join(suffixes)})")
    if "" in splits:
        files = splits[""]
        count = count_images(files)
        rest, test = held_out(count, count // 10, drawn=True)
        train, valid = held_out(len(rest), count // 10, drawn=True)
        return files, {"train": rest[train], "valid": rest[valid], "test": test}[split], str(path)
    taken = "train" if split == "valid" and "valid" not in splits else split
    if taken not in splits:
        raise ValueError(
            f"{path} has {', '.join(splits)}, but no {split}: name a folder or the files so"
        )
    count = count_images(splits[taken])
    keep = np.arange(count)
    if "valid" not in splits and taken == "train":
        keep = held_out(count, count // 10, drawn=True)[split == "valid"]
    return splits[taken], keep, str(path)


FOLDER = register(
    DataSet(
        name="folder",
        title="your own images",
        options=("path", "size", "bits", "levels"),
        levels=None,
    )
)
