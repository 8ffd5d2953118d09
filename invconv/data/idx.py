"""The idx files of MNIST and of the data sets that follow it, compressed by gzip or not."""

import gzip
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from invconv.files import brief

IMAGES = 0x00000803
"""The first four bytes of a file with bytes in three dimensions."""
HEADER = 16


def digest(files: Sequence[str]) -> str:
    """Return the SHA-256 of the uncompressed bytes of ``files``, one after the other.

    Raises:
        ValueError: if a file cannot be read to its end.
    """
    total = hashlib.sha256()
    for file in files:
        with _opened(file) as stream:
            try:
                while piece := stream.read(2**20):
                    total.update(piece)
            except (OSError, EOFError) as error:
                raise ValueError(f"{file} is damaged: {brief(error)}") from error
    return total.hexdigest()


def shape(file: str) -> tuple[int, int, int]:
    """Return the numbers of images, rows and columns, as the header says.

    Raises:
        ValueError: if the file does not hold images.
    """
    with _opened(file) as stream:
        try:
            header = np.frombuffer(stream.read(HEADER), ">u4")
        except Exception as error:
            raise ValueError(f"{file} cannot be read: {brief(error)}") from error
    if len(header) != 4 or header[0] != IMAGES or not header[1:].all():
        raise ValueError(
            f"{file} is no idx file of images: it must begin with the bytes 00 00 08 03 and the "
            "number of images, rows and columns"
        )
    return int(header[1]), int(header[2]), int(header[3])


def chunks(file: str, size: int) -> Iterator[np.ndarray]:
    """Yield gray images, uint8 (N, H, W) with N at most ``size``; EMNIST's, transposed, upright.

    Raises:
        ValueError: if there are fewer or more bytes than the header says.
    """
    count, height, width = shape(file)
    upright = (0, 2, 1) if Path(file).name.lower().startswith("emnist-") else (0, 1, 2)
    with _opened(file) as stream:
        stream.read(HEADER)
        for first in range(0, count, size):
            number = min(size, count - first)
            try:
                data = np.frombuffer(stream.read(number * height * width), np.uint8)
                images = data.reshape(number, height, width).transpose(upright)
            except Exception as error:
                raise ValueError(
                    f"{file} cannot be read beyond image {first} of {count}: {brief(error)}"
                ) from error
            yield images
        if stream.read(1):
            raise ValueError(f"{file} is damaged: it holds more than the {count} images it says")


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    unpack = gzip.open if file.lower().endswith(".gz") else open
    with unpack(file, "rb") as stream:
        yield cast(BinaryIO, stream)
