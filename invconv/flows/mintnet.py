"""MintNet as a whole: pairs of its blocks, and nothing else."""

from torch import nn

from invconv.about import Options
from invconv.conv import Shape, build
from invconv.flows.level_flow import LevelFlow
from invconv.flows.squeeze import Squeeze, check_halvings
from invconv.validation import check_count


class MintNet(LevelFlow, kind="mintnet"):
    """The network of Song et al., "MintNet" (arXiv 1907.07945, section 4), as released.

    Layers of one `invconv.MintNetPair` each, no ActNorm, no 1×1 and no coupling. With the
    defaults a space-to-depth stands before layers 7 and 14, after which a hidden layer has a
    quarter of the multiples of its input's channels. Nothing leaves on the way; base N(0, I).
    27,460,944 parameters on 3×32×32; with 20 layers and a multiplier of 45, 805,272 on 1×28×28.

    Args:
        shape: (C, H, W) of the images; H and W divisible by 2^halvings.
        layers: pairs of blocks, at least halvings + 1.
        latent_multiplier: L of the first layers.
        halvings: how often the image is halved, at equal distances.
        conv_options: further options of `invconv.MintNetPair`.
        bins: the number of values that a pixel can take.
        dequantization, preprocessing, dequantization_options: as in `LevelFlow`.

    Raises:
        TypeError: for an option that the blocks or the dequantization do not have.
        ValueError: for a shape or numbers that do not fit.

    >>> import torch
    >>> from invconv.flows import MintNet
    >>> flow = MintNet((1, 8, 8), layers=2, latent_multiplier=8, halvings=1)
    >>> flow.bits_per_dim(torch.randint(256, (16, 1, 8, 8))).shape
    torch.Size([16])
    """

    def __init__(
        self,
        shape: Shape = (3, 32, 32),
        layers: int = 21,
        latent_multiplier: int = 85,
        halvings: int = 2,
        conv_options: Options | None = None,
        bins: int = 256,
        dequantization: str = "uniform",
        preprocessing: str = "logit",
        dequantization_options: Options | None = None,
    ) -> None:
        super().__init__(shape, bins, dequantization, preprocessing, dequantization_options)
        check_count(halvings, "halvings", 0)
        check_count(layers, "layers", halvings + 1)
        check_count(latent_multiplier, "latent_multiplier", 4**halvings)
        check_halvings(self.shape, halvings + 1, halvings)
        inside, multiplier = self.shape, latent_multiplier
        gap = layers // (halvings + 1)
        for level in range(halvings + 1):
            parts: list[nn.Module] = []
            if level:
                parts.append(Squeeze("pixel"))
                inside = (4 * inside[0], inside[1] // 2, inside[2] // 2)
                multiplier //= 4
            count = gap if level < halvings else layers - halvings * gap
            for _ in range(count):
                options = {**(conv_options or {}), "latent_multiplier": multiplier}
                parts.append(build("mintnet", inside, **options))
            self.levels.append(nn.ModuleList(parts))
        self.latent_shapes.append(inside)
