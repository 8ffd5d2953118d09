"""What a trained flow makes of images: samples, reconstructions and interpolations as PNG."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from invconv.data.saving import grid
from invconv.files import write_atomically
from invconv.flows import LevelFlow
from invconv.style import plain

SAMPLES = 64
RECONSTRUCTED = 12
PAIRS = 8
BETWEEN = 10
"""How many images a row of interpolations has, both ends included."""
MARGIN, TITLE = 12, 22
NARROWEST = 560


def write_pictures(flow: LevelFlow, images: Tensor, folder: Path, seed: int = 0) -> list[Path]:
    """Write samples.png, reconstructions.png and interpolations.png into ``folder``.

    The pixel values 0 … bins − 1 are shown over the full range from black to white, in gray
    where there is one channel, every pixel as a square. The same flow, images and seed give the
    same files.

    Args:
        flow: trained.
        images: (B, C, H, W) integers, B at least 2; the first 16 are used.
        folder: the cell's.
        seed: of the samples and of the dequantization noise.

    Returns:
        The three paths.

    Raises:
        ValueError: for fewer than two images, or neither 1 nor 3 channels.
    """
    if flow.shape[0] not in (1, 3):
        raise ValueError(f"pictures have 1 or 3 channels, not {flow.shape[0]}")
    if len(images) < 2:
        raise ValueError(f"at least 2 images are needed to interpolate, not {len(images)}")
    device = next(flow.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    images = images[: max(RECONSTRUCTED, 2 * PAIRS)].to(device)
    was_training = flow.training
    flow.eval()
    pictures = {
        "samples": [_samples(flow, generator)],
        "reconstructions": _reconstructions(flow, images[:RECONSTRUCTED], generator),
        "interpolations": [_interpolations(flow, images, generator)],
    }
    flow.train(was_training)
    for name, blocks in pictures.items():
        write_atomically(_png(blocks), folder / f"{name}.png")
    return [folder / f"{name}.png" for name in pictures]


Block = tuple[str, np.ndarray]
"""A title, and (height, width, 3) pixels."""


@torch.no_grad()
def _samples(flow: LevelFlow, generator: torch.Generator) -> Block:
    samples, note = _shown(flow, flow.decode(flow.draw(SAMPLES, generator=generator)))
    title = f"{SAMPLES} samples, temperature 1{note}"
    return title, grid(samples, flow.dequantization.bins, math.isqrt(SAMPLES))


def _shown(flow: LevelFlow, y: Tensor) -> tuple[Tensor, str]:
    """The pixels of y, white where it is not finite, and in how many images that is so."""
    broken = ~torch.isfinite(y)
    images = flow.dequantization.inverse(y).masked_fill(broken, flow.dequantization.bins - 1)
    count = int(broken.flatten(1).any(1).sum())
    return images, f"; {count} of {len(y)} not finite (white)" if count else ""


@torch.no_grad()
def _reconstructions(flow: LevelFlow, images: Tensor, generator: torch.Generator) -> list[Block]:
    """Originals, decode(encode(y)) as pixel values, and the error before they are rounded."""
    bins, n = flow.dequantization.bins, len(images)
    preprocessing = flow.dequantization.preprocessing
    y, _ = flow.dequantization(images, next(flow.parameters()).dtype, generator)
    again = flow.decode(flow.encode(y)[0])
    error = (preprocessing.inverse(again) - preprocessing.inverse(y)).abs()
    broken = ~torch.isfinite(error)
    error = error.masked_fill(broken, 0)
    largest = float(error.max())
    factor = 10 ** max(0, math.floor(math.log10((bins - 1) / largest))) if largest else 1
    amplified = (error * factor).masked_fill(broken, bins - 1)
    shown, note = _shown(flow, again)
    different = int((shown != images).sum())
    title = f"|error| × {factor:,}, at most {largest:.1e} of {bins} levels"
    if broken.any():
        title += f"; {int(broken.sum())} values not finite (white)"
    return [
        (f"{n} images", grid(images, bins, n)),
        (
            f"reconstructed: {different} of {images.numel()} values differ{note}",
            grid(shown, bins, n),
        ),
        (title, grid(amplified.clamp(max=bins - 1), bins, n)),
    ]


@torch.no_grad()
def _interpolations(flow: LevelFlow, images: Tensor, generator: torch.Generator) -> Block:
    pairs = min(PAIRS, len(images) // 2)
    y, _ = flow.dequantization(images[: 2 * pairs], next(flow.parameters()).dtype, generator)
    latents, _ = flow.encode(y)
    between = interpolate([z[0::2] for z in latents], [z[1::2] for z in latents], BETWEEN)
    decoded, note = _shown(flow, flow.decode(between))
    title = f"from left to right along the great circle between two latents{note}"
    return title, grid(decoded, flow.dequantization.bins, BETWEEN)


def interpolate(first: Sequence[Tensor], second: Sequence[Tensor], count: int) -> list[Tensor]:
    """Latents between two, spherically: along the great circle through both.

    Draws of N(0, I) in many dimensions lie close to a sphere, which a straight line would leave
    towards the improbable middle (White, arXiv 1609.04468). The angle is that of all levels'
    latents together; where there is next to none, the line is straight.

    Args:
        first, second: latents as `LevelFlow.encode` returns them, P of each.
        count: T, both ends included.

    Returns:
        Latents with P·T samples, those of one pair behind one another.
    """
    a, b = (torch.cat([latent.flatten(1) for latent in ends], 1) for ends in (first, second))
    angle = torch.cosine_similarity(a, b).clamp(-1, 1).acos()[:, None]
    t = torch.linspace(0, 1, count, dtype=a.dtype, device=a.device)
    straight = angle.sin() < 1e-4
    sine = angle.sin().masked_fill(straight, 1)
    from_first = torch.where(straight, 1 - t, ((1 - t) * angle).sin() / sine)
    from_second = torch.where(straight, t, (t * angle).sin() / sine)

    def mix(x: Tensor, y: Tensor) -> Tensor:
        u, v = (weight[..., None, None, None] for weight in (from_first, from_second))
        return (u * x[:, None] + v * y[:, None]).flatten(0, 1)

    return [mix(x, y) for x, y in zip(first, second, strict=True)]


@plain()
def _png(blocks: Sequence[Block]) -> bytes:
    """The blocks below one another, each under its title, without a date or a version."""
    width = max(NARROWEST, *(pixels.shape[1] + 2 * MARGIN for _, pixels in blocks))
    height = MARGIN + sum(TITLE + pixels.shape[0] + MARGIN for _, pixels in blocks)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    top = MARGIN
    for title, pixels in blocks:
        baseline = 1 - (top + TITLE - 8) / height
        figure.text(MARGIN / width, baseline, title, fontsize=9, va="baseline")
        top += TITLE
        figure.figimage(pixels, MARGIN, height - top - pixels.shape[0], origin="upper")
        top += pixels.shape[0] + MARGIN
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
