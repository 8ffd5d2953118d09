"""From files to one uint8 array, image by image."""

import io
import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps

from invconv.data.formats import blocks
from invconv.data.published_sets import Prepare
from invconv.files import brief

COLORS = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "PA": "RGB", "RGB": "RGB", "RGBA": "RGB"}
"""The modes of Pillow that are read, and what each is read as."""


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
        ValueError: for an image that cannot be read, has another shape, or is not what gray or
            RGB of eight bits can show; the message names the file and the row.
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
    """The picture as its owner sees it, gray or RGB: upright, its palette looked up."""
    if not isinstance(source, str):
        data = source.as_py()
        if data is None:
            raise ValueError(f"{where} has a path but no bytes: store the image itself")
        source = io.BytesIO(data)
    try:
        with Image.open(source) as picture:
            reason = _beyond_eight_bits(picture)
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            if picture.has_transparency_data and picture.mode in COLORS:
                opaque = picture.convert("RGBA").getchannel("A").getextrema() == (255, 255)
                reason = reason or ("" if opaque else "transparent pixels")
            profile = _profile(picture)
    except Exception as error:
        raise ValueError(f"{where} is no image that can be read: {brief(error)}") from error
    if reason:
        raise ValueError(
            f"{where} has {reason}, but one opaque picture, gray or RGB of eight bits, is needed: "
            "convert it first"
        )
    if profile and "srgb" not in profile.lower():
        warnings.warn(
            f"pictures with the color profile {profile!r} are read as stored, not converted to "
            "sRGB",
            stacklevel=2,
        )
    picture.info.pop("transparency", None)  # of a palette, opaque by now
    return picture.convert(COLORS[picture.mode])


def _beyond_eight_bits(picture: ImageFile.ImageFile) -> str:
    """What an opened picture has that gray or RGB of eight bits cannot show; "" for nothing."""
    if re.search(r"(?<!BGR);16", str(picture.tile)):  # Pillow drops eight of them in RGB
        return "16 bits per channel"
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # what phones put behind their JPEG is no animation
        return f"{frames} frames"
    return "" if picture.mode in COLORS else f"Pillow's mode {picture.mode}"


def _profile(picture: Image.Image) -> str:
    """The name of a picture's color profile; "" where it has none."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        return ImageCms.getProfileDescription(profile).strip()
    except (KeyError, OSError, TypeError, ImportError, ImageCms.PyCMSError):
        return ""


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
