"""MaCow-FG: the fine-grained multi-scale flow of MaCow."""

from collections.abc import Sequence

from torch import nn

from invconv.about import Options
from invconv.conv import Shape
from invconv.flows.coupling import PlainSplit
from invconv.flows.level_flow import LevelFlow
from invconv.flows.macow_steps import macow_step, mixing_step
from invconv.flows.squeeze import Squeeze, check_halvings
from invconv.validation import check_count


class MaCowFG(LevelFlow, kind="macow_fg"):
    """The fine-grained multi-scale flow of Ma et al., "MaCow" (arXiv 1902.04208, section 3).

    The first level works on the image itself, each further one squeezes first. A level between
    the first and the last splits several times: ``factor`` parts of its channels, one of which
    leaves after each group of steps, behind a prior of ActNorm, 1×1 and coupling. With the
    defaults and 3×32×32 images, 37,197,547 parameters: the model of table 3 of FInC Flow (arXiv
    2301.09266); with ``dequantization="variational_macow"`` 38,403,423: MaCow-org. Base N(0, I).

    Args:
        shape: (C, H, W) of the images; H and W divisible by 2^(levels − 1).
        steps: per level; one number for the first and the last, a list for those between, fewer
            entries than ``factor``.
        widths: hidden channels of the couplings, per level.
        factor: see above.
        conv_options: options of `invconv.MaCow`, without ``orders``.
        bins: the number of values that a pixel can take.
        dequantization, preprocessing, dequantization_options: as in `LevelFlow`.

    Raises:
        TypeError: for an option that MaCow or the dequantization does not have.
        ValueError: for a shape, steps or widths that do not fit.
    """

    def __init__(
        self,
        shape: Shape = (3, 32, 32),
        steps: Sequence[int | Sequence[int]] = (4, (12, 12), (12, 12), 12),
        widths: Sequence[int] = (24, 512, 512, 512),
        factor: int = 4,
        conv_options: Options | None = None,
        bins: int = 256,
        dequantization: str = "uniform",
        preprocessing: str = "logit",
        dequantization_options: Options | None = None,
    ) -> None:
        super().__init__(shape, bins, dequantization, preprocessing, dequantization_options)
        channels, height, width = self.shape
        groups = [list(entry) if isinstance(entry, Sequence) else [entry] for entry in steps]
        _check_plan(self.shape, groups, widths, factor)
        options = dict(conv_options or {})
        for level, (counts, hidden) in enumerate(zip(groups, widths, strict=True)):
            parts: list[nn.Module] = []
            if level:
                channels, height, width = 4 * channels, height // 2, width // 2
                parts.append(Squeeze())
            for group, count in enumerate(counts):
                for _ in range(count):
                    parts += macow_step(channels, hidden, **options)
                if 0 < level < len(groups) - 1:
                    parts += mixing_step(channels, hidden, factor - group)
                    leaving = channels // (factor - group)
                    parts.append(PlainSplit(leaving))
                    self.latent_shapes.append((leaving, height, width))
                    channels -= leaving
            self.levels.append(nn.ModuleList(parts))
        self.latent_shapes.append((channels, height, width))


def _check_plan(shape: Shape, groups: list[list[int]], widths: Sequence[int], factor: int) -> None:
    check_count(factor, "factor")
    for counts in groups:
        for count in counts:
            check_count(count, "steps")
    for width in widths:
        check_count(width, "widths")
    inner = groups[1:-1]
    if len(groups) < 2 or any(len(entry) != 1 for entry in (groups[0], groups[-1])):
        raise ValueError("steps must have at least two levels, the first and the last one number")
    if any(not 0 < len(counts) < factor for counts in inner):
        raise ValueError(
            f"a level between the first and the last must have 1 to {factor - 1} groups of steps, "
            f"fewer than factor = {factor}, not {[len(counts) for counts in inner]}"
        )
    if len(widths) != len(groups):
        raise ValueError(f"widths must have one entry per level, {len(groups)}, not {len(widths)}")
    check_halvings(shape, len(groups), len(groups) - 1)
