"""The most that one triangular convolution can do, in closed form: bits against k and mask."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from invconv.data import ImageSet, load
from invconv.flows.squeeze import squeeze
from invconv.layers import optimal
from invconv.layers.optimal import Mask, Optimum
from invconv.layers.triangular import TriangularConv
from invconv.report.comparison import reach_over_images
from invconv.rows import Block, Incorrect, Part, Values
from invconv.rows.columns import FLOW, Bits, Name, Number
from invconv.sweeps.config import Preset, Sweep
from invconv.tables.linear_page import AGAINST, STUDY, finding, page
from invconv.tables.table import Table
from invconv.tables.trained import Dataset

FEATURES = 400
"""The most numbers that a pixel is predicted from; larger kernels are omitted."""
DENSE = 1024
"""The most pixels of an image whose convolution is written as a dense matrix."""
AGREE = 5e-3
"""Bits by which a trained layer may miss the closed form of the same images."""


@dataclass
class Linear(Sweep):
    """One data set, after some squeezes: C = channels · 4^squeezes."""

    dataset: Dataset = field(default_factory=Dataset)
    squeezes: int = 0
    kernels: list[int] = field(default_factory=lambda: [1, 2, 3, 5, 7, 11])
    trained: list[int] = field(default_factory=lambda: [2, 3])
    """Kernel sizes of layers that are trained as a check, on images of one channel."""
    trained_images: int = 6000
    iterations: int = 60
    """Of L-BFGS."""


def masks(channels: int, kernels: list[int]) -> dict[str, Mask]:
    """Return every mask that fits, by name, such as "quarter plane k3"."""
    found = dict[str, Mask]()
    for k in kernels:
        kinds = {"quarter plane": optimal.quarter_plane(k)}
        if channels % 4 == 0 and k > 1:
            kinds["four corners"] = optimal.four_corners(k)
        if k % 2 and k > 1:
            kinds["half plane"] = optimal.half_plane(k)
        found |= {f"{name} k{k}": mask for name, mask in kinds.items()}
    return {
        name: mask
        for name, mask in found.items()
        if channels / len(mask.groups) * len(mask.groups[0]) <= FEATURES
    }


def measure(config: Linear, _: torch.device, __: Path) -> Block:
    """Fit every mask to the training images and evaluate it on the test images."""
    chosen, root = config.dataset.options, config.dataset.root
    train, test = (load(split=split, root=root, **chosen) for split in ("train", "test"))
    levels, images = train.levels, _centered(train, test, config.squeezes)
    channels, height, width = images["train"].shape[1:]
    noise = 1 / 12 / levels**2
    kinds = masks(channels, config.kernels)
    fits = {name: optimal.fit(images["train"], mask, noise) for name, mask in kinds.items()}
    bits = {
        name: optimal.bits_per_image(one, images["test"], levels, noise)
        for name, one in fits.items()
    }
    parts = {
        name: Part({"kernel": name}, _values(name, fits[name], bits, height, width))
        for name in fits
    }
    if channels == 1:
        parts |= _trained(config, train, test)
    values: Values = {"channels": channels, "n": height, "train_images": len(train)}
    return Block(values, parts, pd.DataFrame())


def _centered(train: ImageSet, test: ImageSet, squeezes: int) -> dict[str, Tensor]:
    """Both splits as float64 fractions of the range, the mean training image removed."""
    both = {}
    for name, images in (("train", train), ("test", test)):
        scaled = (images.images.double() + 0.5) / train.levels
        for _ in range(squeezes):
            scaled = squeeze(scaled)
        both[name] = scaled
    mean = both["train"].mean(0)
    return {name: scaled - mean for name, scaled in both.items()}


def _values(
    name: str, one: Optimum, bits: Mapping[str, Tensor], height: int, width: int
) -> Values:
    mask, _, k = name.rpartition(" k")
    own = bits[name]
    values: Values = {
        "mask": mask,
        "k": int(k),
        "taps": one.taps,
        "bpd": own.mean().item(),
        "bpd_interval": reach_over_images(own.numpy()),
    }
    other = bits.get(f"quarter plane k{AGAINST.get(int(k), 0)}")
    if mask == "half plane" and other is not None:
        values["paired_interval"] = reach_over_images((own - other).numpy())
    channels = one.weight.shape[0]
    if channels * height * width <= DENSE:
        inverse = torch.linalg.inv(dense := optimal.matrix(one, height, width))
        values["inverse_norm"] = inverse.abs().sum(1).max().item()
        values["condition"] = torch.linalg.cond(dense).item()
    return values


def _trained(config: Linear, train: ImageSet, test: ImageSet) -> dict[str, Part]:
    """Layers trained to convergence by gradients, and the closed form on the same images."""
    some = ImageSet(train.name, "train", train.images[: config.trained_images], train.levels)
    images, noise = _centered(some, test, 0), 1 / 12 / train.levels**2
    draws = torch.rand(
        images["train"].shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    x = images["train"] + (draws - 0.5) / train.levels
    parts = {}
    for k in config.trained:
        mask = optimal.quarter_plane(k)
        closed = optimal.fit(images["train"], mask, noise)
        layer = TriangularConv(1, (k, k), std=0.0).double()
        train_layer(layer, x, config.iterations)
        with torch.no_grad():
            kernel = layer.triangular_weight()[0, 0]
            taps = [kernel[k - 1 + i, k - 1 + j] for i, j in mask.offsets]
            variance = layer(x)[0].square().mean()[None]
        learned = Optimum(mask, torch.stack(taps).reshape(1, -1, 1), variance)
        both = [
            optimal.bits_per_image(one, images["test"], train.levels, noise).mean().item()
            for one in (learned, closed)
        ]
        if not abs(both[0] - both[1]) <= AGREE:
            raise Incorrect(f"k = {k}: trained {both[0]:.4f} bits, in closed form {both[1]:.4f}")
        values: Values = {"mask": "trained", "k": k, "taps": closed.taps}
        name = f"trained k{k}"
        parts[name] = Part(
            {"kernel": name}, values | {"trained_bpd": both[0], "closed_bpd": both[1]}
        )
    return parts


def train_layer(layer: TriangularConv, x: Tensor, iterations: int) -> None:
    """Minimize log of the mean of z² by L-BFGS, which is the likelihood of one scale."""
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=iterations, line_search_fn="strong_wolfe", history_size=50
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = 0.5 * torch.log(layer(x)[0].square().mean()) / math.log(2)
        loss.backward()
        return loss

    optimizer.step(closure)


TABLE = Table(
    name="linear",
    title="The most that one triangular convolution can do",
    question="What is the most that one triangular convolution can do?",
    config=Linear,
    measure=measure,
    cell="{preset}-{dataset.label}-q{squeezes}",
    labels={"preset": "preset", "dataset": "dataset.label", "squeezes": "squeezes"},
    parts="kernel",
    columns=(
        Bits("bpd bpd_interval paired_interval trained_bpd closed_bpd"),
        Name("mask"),
        Number("k taps channels n train_images"),
        Number("inverse_norm condition", infinite=True),
        *FLOW,
    ),
    presets={
        "default": Preset({}, {"dataset": "digits,photographs16", "squeezes": "0,1"}, minutes=2),
        "full": Preset(
            {},
            {"dataset": "fashion_mnist,digits,photographs16", "squeezes": "0,1,2"},
            minutes=10,
        ),
        "tiny": Preset(
            {"kernels": [1, 2, 3], "trained": [2], "trained_images": 200, "iterations": 20},
            {"dataset": "digits", "squeezes": "0,1"},
            minutes=1,
        ),
    },
    choices={"dataset": "digits"},
    times=lambda _: False,
    headline="kernel bpd",
    page=page,
    finding=finding,
    study=STUDY,
    order=9,
)
