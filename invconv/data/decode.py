"""From files to one uint8 array, image by image."""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from invconv.data.formats import blocks
from invconv.data.presets import Prepare
from invconv.files import brief

MODES = ("L", "RGB")


def read_images(
    files: Sequence[str],
    keep: np.ndarray,
    shape: tuple[int, int, int] | None = None,
    prepare: Prepare | None = None,
) -> np.ndarray:
    """The wanted images of several files of one format; what is not wanted is not decoded.

    Besides the result only a few hundred images are in memory at a time.

    Args:
        files: in the order of their rows.
        keep: the wanted rows, sorted, counted through all files.
        shape: (C, H, W) that every image must have; None for that of the first one.
        prepare: what is done to each picture before it becomes an array.

    Returns:
        uint8, (len(keep), C, H, W).

    Raises:
        ValueError: for an image that cannot be read, has another shape, or is neither grey nor
            RGB with eight bits; the message names the file and the row.
    """
    out: np.ndarray | None = None
    if shape is not None or not len(keep):
        out = np.empty((len(keep), *(shape or (1, 1, 1))), np.uint8)
    done = first = 0
    # Pillow releases the interpreter's lock, which pays only for pictures that are shrunk.
    with ThreadPoolExecutor() as pool:
        apply = pool.map if prepare else map
        for block in blocks(files):
            if done == len(keep):
                break
            start, stop = np.searchsorted(keep, (first, first + len(block.items)))
            rows = (keep[start:stop] - first).tolist()
            first += len(block.items)
            places = [block.where(row) for row in rows]
            sources = [block.items[row] for row in rows]
            for where, image in zip(
                places, apply(partial(_decode, prepare=prepare), sources, places), strict=True
            ):
                if out is None:
                    out = np.empty((len(keep), *image.shape), np.uint8)
                if image.shape != out.shape[1:]:
                    raise ValueError(
                        f"{where} is {_times(image.shape)} (channels×height×width), but "
                        f"{_times(out.shape[1:])} is needed"
                    )
                out[done] = image
                done += 1
    assert out is not None and done == len(keep)
    return out


def _decode(source: Any, where: str, prepare: Prepare | None) -> np.ndarray:
    """(C, H, W) from an encoded image (a path or pyarrow's binary value) or (H, W, C) pixels."""
    if isinstance(source, np.ndarray):
        if prepare is None:
            return source.transpose(2, 0, 1)
        picture = Image.fromarray(source[:, :, 0] if source.shape[2] == 1 else source)
    else:
        picture = _picture(source, where)
    if prepare is not None:
        try:
            picture = prepare(picture)
        except ValueError as error:
            raise ValueError(f"{where} does not fit: {error}") from error
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _picture(source: Any, where: str) -> Image.Image:
    if not isinstance(source, str):
        data = source.as_py()
        if data is None:
            raise ValueError(f"{where} has a path but no bytes: store the image itself")
        source = io.BytesIO(data)
    try:
        with Image.open(source) as picture:
            picture.load()
    except Exception as error:
        raise ValueError(f"{where} is no image that can be read: {brief(error)}") from error
    if picture.mode not in MODES:
        raise ValueError(
            f"{where} has Pillow's mode {picture.mode}, but L (grey) or RGB, eight bits each, is "
            "needed: convert it first"
        )
    return picture


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
