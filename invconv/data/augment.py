"""Random changes of training images that leave their values integers."""

import numpy as np


def check_affine(affine: float) -> None:
    """Raises ValueError unless ``affine`` is at least 0 and less than 0.5."""
    if isinstance(affine, str) or not 0 <= affine < 0.5:
        raise ValueError(f"affine must be at least 0 and less than 0.5, not {affine!r}")


def augment(
    images: np.ndarray,
    seed: int,
    step: int,
    *,
    flip: bool = False,
    affine: float = 0.0,
    first: int = 0,
) -> np.ndarray:
    """The images of one step, mirrored and shifted at random.

    ``flip`` mirrors each image left to right with probability one half. ``affine`` shifts it by
    whole pixels, round(u) down and round(v) to the right with u and v uniform in ±affine times
    height and width, the border's pixels being repeated; 0.04 is what FInC's code uses for
    CIFAR-10 (there of a padded side of 36 instead of 32). What happens to an image depends on
    seed, step and its place in the batch alone.

    Args:
        images: uint8, (B, C, H, W).
        seed, step: at least 0.
        flip: whether to mirror.
        affine: the largest shift, at least 0 and less than 0.5.
        first: the place of the first image, where these are a slice of the batch.

    Returns:
        uint8, (B, C, H, W); ``images`` itself if nothing is asked for.

    Raises:
        ValueError: for another ``affine``.
    """
    check_affine(affine)
    if (not flip and not affine) or not images.size:
        return images
    batch, _, height, width = images.shape
    drawn = np.random.default_rng((seed, step)).random((first + batch, 3))[first:]
    mirrored = (drawn[:, 0] < 0.5) & flip
    sides = np.array([height, width])
    shifts = np.rint((2 * drawn[:, 1:] - 1) * affine * sides).astype(int)
    pad = int(np.rint(affine * max(height, width)))
    padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="edge")
    out = np.empty_like(images)
    for i, (down, right) in enumerate(shifts.tolist()):
        top, left = pad - down, pad - right
        image = padded[i, :, top : top + height, left : left + width]
        out[i] = image[:, :, ::-1] if mirrored[i] else image
    return out
