"""A flow without couplings, in which the convolutions learn all that is learned."""

from torch import nn

from invconv.about import Options
from invconv.conv import Shape, build, layer_class
from invconv.flows.actnorm import ActNorm
from invconv.flows.common_numbers import common_numbers, drawn
from invconv.flows.level_flow import LevelFlow
from invconv.flows.spline import SplineActivation
from invconv.flows.squeeze import Squeeze, check_halvings
from invconv.layers import FInC, TriangularConv
from invconv.solvers.problem import CORNERS
from invconv.validation import check_count


class CouplingFreeFlow(LevelFlow, kind="coupling_free"):
    """Blocks of convolutions, each followed by a scale, a bias and a monotone spline.

    The 9-layer network of Self Normalizing Flows (Keller et al., arXiv 2011.07248, table 1, as
    released): three blocks of three k×k convolutions with a rational-quadratic spline after each
    but the last, a squeeze between blocks, base N(0, I). Three departures, alike for every
    convolution: the scale and bias per channel (`ActNorm`), because convolutions with a unit
    determinant have no scale of their own; FInC on fewer than four channels is one corner per
    layer, top left, top right, bottom left and bottom right in turn, because it has no quarters
    of them; and the first layers start from the same random numbers (`common_numbers`).

    Args:
        conv: the registered name of the convolution.
        shape: (C, H, W) of the images; H and W divisible by 2^(blocks − 1).
        blocks: squeezed one from the other.
        layers: convolutions per block.
        conv_options: of the convolution.
        bins: the number of values that a pixel can take.
        spline_bins, spline_bound: of each `SplineActivation`.
        dequantization, preprocessing, dequantization_options: as in `LevelFlow`.

    Raises:
        TypeError: for an option that the convolution or the dequantization does not have.
        ValueError: for an unknown convolution, or a shape that does not fit.

    >>> import torch
    >>> from invconv.flows import CouplingFreeFlow
    >>> flow = CouplingFreeFlow("cinc", (1, 28, 28))
    >>> images = torch.randint(256, (16, 1, 28, 28))
    >>> flow.initialize(images)
    >>> flow.bits_per_dim(images).shape
    torch.Size([16])
    """

    def __init__(
        self,
        conv: str,
        shape: Shape,
        blocks: int = 3,
        layers: int = 3,
        conv_options: Options | None = None,
        bins: int = 256,
        spline_bins: int = 5,
        spline_bound: float = 10.0,
        dequantization: str = "uniform",
        preprocessing: str = "logit",
        dequantization_options: Options | None = None,
    ) -> None:
        super().__init__(shape, bins, dequantization, preprocessing, dequantization_options)
        check_count(blocks, "blocks")
        check_count(layers, "layers")
        check_halvings(self.shape, blocks, blocks - 1)
        count, inside = 0, self.shape
        with common_numbers():
            for block in range(blocks):
                parts: list[nn.Module] = []
                if block:
                    parts.append(Squeeze())
                    inside = (4 * inside[0], inside[1] // 2, inside[2] // 2)
                for _ in range(layers):
                    with drawn(f"layer {count}"):
                        parts += [_layer(conv, inside, count, conv_options or {})]
                    parts.append(ActNorm(inside[0]))
                    count += 1
                    if count < blocks * layers:
                        with drawn(f"spline {count}"):
                            parts.append(SplineActivation(spline_bins, spline_bound))
                self.levels.append(nn.ModuleList(parts))
        self.latent_shapes.append(inside)


def _layer(conv: str, shape: Shape, number: int, options: Options) -> nn.Module:
    if layer_class(conv) is not FInC or shape[0] >= len(CORNERS):
        return build(conv, shape, **options)
    given = dict(options)
    k = given.pop("kernel_size", 3)
    return TriangularConv(shape[0], (k, k), corners=CORNERS[number % len(CORNERS)], **given)
