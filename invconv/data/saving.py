"""Images as one picture: side by side, in a PNG file."""

import io
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invconv.data.images import ImageSet
from invconv.files import user_path, write_atomically
from invconv.validation import check_count, whole

EDGE = 56
"""About how many pixels of the picture an image's longer edge gets."""
GAP = 3
BETWEEN_IMAGES = 150
"""The gray around images, which are often black or white at their border."""


def save_images(
    images: Tensor | ImageSet, path: str | Path, levels: int = 256, columns: int | None = None
) -> Path:
    """Write images side by side into one PNG file, which is replaced as a whole or not at all.

    Every pixel becomes a square, so that small images can be seen; the values are shown over the
    full range from black to white, in gray where there is one channel.

    Args:
        images: (N, C, H, W) with C 1 or 3: integers from 0 to ``levels`` − 1, as flows sample
            them, or floating-point numbers from 0 to 1; or a set, which knows its own levels.
        path: ends with ".png".
        levels: the number of values that a pixel can take.
        columns: images in a row; by default about √N.

    Returns:
        The path.

    Raises:
        TypeError: if the images are neither a tensor nor an `ImageSet`.
        ValueError: if their shape or a value does not fit, or the path does not end with ".png".

    >>> import tempfile
    >>> from invconv.data import load, save_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_images(load("digits", "test"), f"{folder}/digits.png").name
    'digits.png'
    """
    from PIL import Image  # which timing does without

    path = user_path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"images are saved as PNG: path must end with .png, not {path.name!r}")
    if isinstance(images, ImageSet):
        levels, images = images.levels, images.images
    integers = _integers(images, levels)
    columns = math.ceil(math.sqrt(len(images))) if columns is None else columns
    pixels = grid(integers, levels, check_count(columns, "columns"))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    write_atomically(buffer.getvalue(), path)
    return path


def _integers(images: Tensor, levels: int) -> Tensor:
    """The images as integers from 0 to levels − 1, on the CPU."""
    if not isinstance(images, Tensor):
        raise TypeError(
            f"images must be a torch.Tensor or an ImageSet, not {type(images).__name__}"
        )
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ValueError(
            "images must have shape (N, C, H, W) with C 1 or 3 and N at least 1, not "
            f"{tuple(images.shape)}: for one image pass image[None]"
        )
    if not 2 <= (whole(levels) or 0) <= 256:
        raise ValueError(f"levels must be 2 to 256, not {levels!r}")
    images = images.detach().cpu()
    kind, most = ("numbers", 1) if images.is_floating_point() else ("integers", levels - 1)
    low, high = images.min().item(), images.max().item()
    if not 0 <= low <= high <= most:
        raise ValueError(
            f"images must be {kind} from 0 to {most}, not from {low:g} to {high:g}"
            + ("" if images.is_floating_point() else ": give the number of levels")
        )
    return (images * (levels - 1)).round() if images.is_floating_point() else images


def grid(images: Tensor, bins: int, columns: int) -> np.ndarray:
    """Images side by side, every pixel a square: (height, width, 3) uint8.

    Args:
        images: (N, C, H, W), C 1 or 3, from 0 (black) to bins − 1 (white).
        bins: the number of values that a pixel can take.
        columns: images in a row.
    """
    scale = max(1, round(EDGE / max(images.shape[2:])))
    shown = (images.double() * (255 / (bins - 1))).round().to(torch.uint8).cpu()
    shown = shown.expand(-1, 3, -1, -1).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    n, _, height, width = shown.shape
    cell = (height + GAP, width + GAP)
    size = (-(-n // columns) * cell[0] + GAP, columns * cell[1] + GAP, 3)
    result = np.full(size, BETWEEN_IMAGES, np.uint8)
    for i, image in enumerate(shown.permute(0, 2, 3, 1).numpy()):
        top, left = i // columns * cell[0] + GAP, i % columns * cell[1] + GAP
        result[top : top + height, left : left + width] = image
    return result
