"""Which files of a folder belong to which split, as cameras and unzip tools leave folders."""

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from invconv.data.formats import FORMATS, IMAGES, file_format

SPLIT = re.compile(
    "(?<![a-zA-Z])(?i:(?P<train>train(?:ing)?)|(?P<valid>val(?:id(?:ation)?)?)"
    "|(?P<test>test(?:ing)?|t10k))(?![a-z]|(?<=[A-Z])[A-Z])"
)
"""A split as a word of a name, in any letters: in "Train" and "trainImages", not in "trainers"."""
FOREIGN = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found")
"""Folders of unzip tools and file systems, which hold previews and what was deleted."""
UNREAD = (
    ".heic",
    ".heif",
    ".avif",
    ".jxl",
    ".jp2",
    ".gif",
    ".tif",
    ".tiff",
    ".dng",
    ".cr2",
    ".nef",
)
"""Pictures of phones, cameras and scanners that are not read."""


def split_files(folder: Path) -> dict[str, list[str]]:
    """The files of each split below ``folder``, sorted: parquet, else .npz, else idx, else images.

    A file belongs to the split that a part of its path names, the outermost one first, in capital
    or small letters: ``plain_text/train-00000-of-00001.parquet``, ``val_data.npz``,
    ``t10k-images-idx3-ubyte.gz``, ``emnist-letters-train-images-idx3-ubyte``, ``Training/1.png``,
    ``DIV2K_valid_HR/0801.png`` (of an image only its folders count). Where nothing names a split,
    all files are under "". Hidden files and folders are passed over, those of `FOREIGN`, links
    that lead back, and an idx file that is there uncompressed, too. There is a warning of images
    outside of the splits, and of pictures of other formats (`UNREAD`).

    Raises:
        OSError: if a folder cannot be read.
    """
    found: dict[str, list[str]] = {}
    for where, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = [name for name in folders if not _passed_over(Path(where, name))]
        present = {name.lower() for name in names}
        for name in names:
            twice = name.lower().endswith(".gz") and name.lower()[:-3] in present
            if not (name.startswith(".") or twice):
                found.setdefault(file_format(name), []).append(os.path.join(where, name))
    unread = [path for suffix in UNREAD for path in found.get(suffix, [])]
    _say_unread(folder, unread, "convert them to .png or .jpg")
    for suffixes in FORMATS:
        files = sorted(path for suffix in suffixes for path in found.get(suffix, []))
        if not files:
            continue
        splits: dict[str, list[str]] = {}
        for path in files:
            splits.setdefault(_split_of(os.path.relpath(path, folder)), []).append(path)
        if set(splits) != {""}:
            outside = splits.pop("", [])
            _say_unread(folder, outside, "move them to a folder named train, valid or test")
        return splits
    return {}


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _passed_over(folder: Path) -> bool:
    if folder.name.startswith(".") or folder.name in FOREIGN:
        return True
    return folder.is_symlink() and folder.resolve() in {up.resolve() for up in folder.parents}


def _say_unread(folder: Path, files: Sequence[str], help: str) -> None:
    if files:
        warnings.warn(
            f"{folder}: {len(files)} of its images are not read, such as {min(files)}: {help}",
            stacklevel=3,
        )


def _split_of(path: str) -> str:
    parts = Path(path).parts
    for part in parts[:-1] if path.lower().endswith(IMAGES) else parts:
        if split := SPLIT.search(part):
            return split.lastgroup or ""
    return ""
