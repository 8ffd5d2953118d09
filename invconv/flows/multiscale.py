"""A multi-scale flow around any invertible convolution."""

from torch import nn

from invconv.about import Options
from invconv.conv import Shape, layer_class
from invconv.flows.common_numbers import common_numbers, drawn
from invconv.flows.coupling import Split
from invconv.flows.level_flow import LevelFlow
from invconv.flows.squeeze import Squeeze, check_halvings
from invconv.flows.steps import build_step
from invconv.validation import check_count

MOST_LEVELS = 30
"""More would halve any image away; 2^levels is computed."""


class MultiScaleFlow(LevelFlow, kind="multiscale"):
    """A flow on integer images: L levels of squeeze → K steps → split, the last without a split.

    Section 3.6 of RealNVP (arXiv 1605.08803) with the steps of `invconv.flows.steps`, base
    N(0, I). Flows of one size, built after the same ``torch.manual_seed``, have the same initial
    couplings, splits and 1×1 convolutions, whatever their convolution
    (`invconv.flows.common_numbers`).

    Args:
        conv: the registered name of the convolution: an `InvertibleConv` of your own is put into
            the flow by ``@register("name")``, any other invertible ``nn.Module`` by
            `invconv.flows.Sequential`, which puts no levels around it.
        shape: (C, H, W) of the images; H and W divisible by 2^L.
        levels: L.
        steps: K, per level.
        width: hidden channels of the coupling networks.
        conv_options: options of the convolution.
        bins: the number of values that a pixel can take.
        mixing: parametrization of the 1×1 after a convolution other than Glow's, "plu" or
            "plain".
        step: "common", the same step for every convolution, or "paper", that of its authors,
            where ``mixing`` has no meaning.
        dequantization, preprocessing, dequantization_options: as in `LevelFlow`.

    Raises:
        TypeError: for an option that the convolution or the dequantization does not have.
        ValueError: for an unknown convolution or step, or a shape that does not fit.

    >>> import torch
    >>> from invconv.flows import MultiScaleFlow
    >>> flow = MultiScaleFlow("finc", (1, 8, 8), levels=2, steps=2, width=8)
    >>> images = torch.randint(256, (16, 1, 8, 8))
    >>> flow.initialize(images)
    >>> flow.bits_per_dim(images).shape
    torch.Size([16])
    >>> flow.eval().sample(4).shape
    torch.Size([4, 1, 8, 8])
    """

    def __init__(
        self,
        conv: str,
        shape: Shape,
        levels: int,
        steps: int,
        width: int = 512,
        conv_options: Options | None = None,
        bins: int = 256,
        mixing: str = "plu",
        step: str = "common",
        dequantization: str = "uniform",
        preprocessing: str = "logit",
        dequantization_options: Options | None = None,
    ) -> None:
        super().__init__(shape, bins, dequantization, preprocessing, dequantization_options)
        layer_class(conv)
        for name, size in {"levels": levels, "steps": steps, "width": width}.items():
            check_count(size, name)
        if levels > MOST_LEVELS or max(steps, width) >= 2**31:
            raise ValueError(
                f"levels must be at most {MOST_LEVELS}, steps and width below 2^31, not "
                f"{levels}, {steps}, {width}"
            )
        check_halvings(self.shape, levels, levels)
        with common_numbers():
            self._build(conv, levels, steps, width, conv_options or {}, mixing, step)

    def _build(
        self,
        conv: str,
        levels: int,
        steps: int,
        width: int,
        options: Options,
        mixing: str,
        step: str,
    ) -> None:
        channels, height, width_pixels = self.shape
        for level in range(levels):
            channels, height, width_pixels = 4 * channels, height // 2, width_pixels // 2
            inside = (channels, height, width_pixels)
            parts: list[nn.Module] = [Squeeze()]
            for i in range(steps):
                with drawn(f"level {level}, step {i}"):
                    parts += build_step(step, conv, inside, width, options, mixing)
            if level < levels - 1:
                with drawn(f"level {level}, split"):
                    parts.append(Split(channels, width))
                channels //= 2
            self.levels.append(nn.ModuleList(parts))
            self.latent_shapes.append((channels, height, width_pixels))
