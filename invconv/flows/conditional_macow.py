"""The dequantization flow of MaCow."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.conv import Shape
from invconv.flows.conditional import run
from invconv.flows.macow_steps import conditional_macow_step
from invconv.flows.squeeze import Squeeze, check_halvings
from invconv.layers.weight_norm import WeightNormConv2d, WeightNormUpsampling
from invconv.validation import check_count

CONTEXT_WIDTH = 32
"""Hidden channels of the context at full resolution; as many more at each halving, up to 128."""


class ResidualBlock(nn.Module):
    """ELU of x + 3×3(ELU(3×3(x))), weight-normalized; x by a 1×1 where C_in and C_out differ.

    Args:
        in_channels, out_channels: C_in and C_out.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = WeightNormConv2d(in_channels, out_channels, (3, 3), padding=(1, 1))
        self.second = WeightNormConv2d(out_channels, out_channels, (3, 3), padding=(1, 1))
        self.skip: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.skip = WeightNormConv2d(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        return F.elu(self.skip(x) + self.second(F.elu(self.first(x))))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Data-dependent initialization of each convolution."""
        if isinstance(self.skip, WeightNormConv2d):
            self.skip.initialize(x)
        self.first.initialize(x)
        self.second.initialize(F.elu(self.first(x)))


class ContextEncoder(nn.Sequential):
    """What MaCow's dequantization sees of an image: down through residual blocks, and up again.

    Two residual blocks; per halving a 3×3 with stride 2, ELU and two more; per doubling a
    transposed 3×3 and ELU; a 1×1 at the end, every convolution weight-normalized.

    Args:
        in_channels: C of the image.
        out_channels: S.
        halvings: how often H and W are halved.
    """

    def __init__(self, in_channels: int, out_channels: int, halvings: int) -> None:
        widths = [min(CONTEXT_WIDTH * (i + 1), 4 * CONTEXT_WIDTH) for i in range(halvings + 1)]
        layers: list[nn.Module] = [
            ResidualBlock(in_channels, widths[0]),
            ResidualBlock(widths[0], widths[0]),
        ]
        for narrow, wide in pairwise(widths):
            down = WeightNormConv2d(narrow, wide, (3, 3), (1, 1), stride=2)
            layers += [down, nn.ELU(), ResidualBlock(wide, wide), ResidualBlock(wide, wide)]
        for wide, narrow in pairwise(widths[::-1]):
            layers += [WeightNormUpsampling(wide, narrow), nn.ELU()]
        super().__init__(*layers, WeightNormConv2d(widths[0], out_channels))

    def initialize(self, x: Tensor) -> None:
        """Initializes each layer on what reaches it."""
        for layer in self:
            if not isinstance(layer, nn.ELU):
                layer.initialize(x)  # type: ignore[operator]
            x = layer(x)


class ConditionalMaCow(nn.Module):
    """The dequantization flow of MaCow (arXiv 1902.04208), as its released CIFAR-10 model has it.

    The first level works on ε itself, each further one squeezes first, and nothing leaves in
    between; at the end the squeezes are undone. A level is a number of MaCow's steps whose masked
    convolutions and couplings see a context of the image, by a `ContextEncoder` and squeezed
    alike. With the defaults 1,205,876 parameters on RGB images.

    Args:
        shape: (C, H, W) of the images; C at least 2, H and W divisible by 2^(levels − 1).
        steps: per level.
        widths: hidden channels of the couplings, per level.
        context_channels: of the context before any squeeze.

    Raises:
        ValueError: for a shape, steps or widths that do not fit.
    """

    def __init__(
        self,
        shape: Shape,
        steps: Sequence[int] = (4, 4),
        widths: Sequence[int] = (24, 256),
        context_channels: int = 4,
    ) -> None:
        super().__init__()
        if len(steps) != len(widths) or not steps:
            raise ValueError(
                f"steps and widths must have one entry per level, not {len(steps)} and "
                f"{len(widths)}"
            )
        sizes = {"steps": steps, "widths": widths, "context_channels": [context_channels]}
        for name, counts in sizes.items():
            for count in counts:
                check_count(count, name)
        check_halvings(shape, len(steps), len(steps) - 1)
        channels = shape[0]
        self.context = ContextEncoder(channels, context_channels, len(steps) - 1)
        self.parts = nn.ModuleList()
        for level, (count, hidden) in enumerate(zip(steps, widths, strict=True)):
            if level:
                channels, context_channels = 4 * channels, 4 * context_channels
                self.parts.append(Squeeze())
            for _ in range(count):
                self.parts.extend(conditional_macow_step(channels, hidden, context_channels))

    def forward(self, epsilon: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """See `ConditionalCouplings.forward`."""
        v, log_det = run(self.parts, epsilon, self.context(image))
        while v.shape != epsilon.shape:
            v = F.pixel_shuffle(v, 2)
        return v, log_det

    @torch.no_grad()
    def initialize(self, epsilon: Tensor, image: Tensor) -> None:
        """Data-dependent initialization of every part; arguments as in `forward`."""
        self.context.initialize(image)
        run(self.parts, epsilon, self.context(image), initialize=True)
