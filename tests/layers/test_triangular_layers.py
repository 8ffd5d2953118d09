"""What is particular to the layers made of triangular convolutions."""

import math

import pytest
import torch
import torch.nn.functional as F
from cases import entries

from invconv import CInC, Emerging, FInC, InverseFlow, NumericalError, TriangularConv, build
from invconv.bench.counting import count_parameters

CPU = torch.device("cpu")


def jacobian(function, shape):
    """|∂ output / ∂ input| of one image, (C, H, W, C, H, W)."""
    x = torch.randn(*shape)
    return torch.autograd.functional.jacobian(lambda a: function(a[None])[0], x).abs()


def depends(matrix):
    """The entries of a Jacobian that are not zero, as index tuples."""
    return {tuple(place) for place in torch.nonzero(matrix > 1e-12).tolist()}


def pattern(shape, window, triangle):
    """Every (c, h, w, d, i, j) with pixel (i − h, j − w) in ``window``, or the same pixel and
    ``triangle(c, d)``."""
    channels, height, width = shape
    found = set()
    for c in range(channels):
        for d in range(channels):
            for h in range(height):
                for w in range(width):
                    if triangle(c, d):
                        found.add((c, h, w, d, h, w))
                    for i, j in window:
                        if 0 <= h + i < height and 0 <= w + j < width:
                            found.add((c, h, w, d, h + i, w + j))
    return found


SHAPE = (2, 4, 5)
BEFORE = {  # offsets that the papers' masks leave, for k = 3
    "square": [(-1, -1), (-1, 0), (0, -1)],
    "raster": [(-1, -1), (-1, 0), (-1, 1), (0, -1)],
    "cinc": [(i, j) for i in (-2, -1, 0) for j in (-2, -1, 0) if (i, j) != (0, 0)],
}


def dense(layer):
    """A layer of one's own random weights, none of them zero."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


@pytest.mark.parametrize("mask", ["square", "raster"])
def test_emerging_sees_what_its_mask_leaves(mask, float64):
    layer = dense(Emerging(2, 3, mask=mask))
    after = [(-i, -j) for i, j in BEFORE[mask]]
    first = depends(jacobian(layer.first.convolve, SHAPE))
    assert first == pattern(SHAPE, after, lambda c, d: d <= c)
    second = depends(jacobian(layer.second.convolve, SHAPE))
    assert second == pattern(SHAPE, BEFORE[mask], lambda c, d: d >= c)


def test_cinc_sees_the_pixels_above_and_left(float64):
    layer = dense(CInC(2, 3))
    found = depends(jacobian(layer.convolve, SHAPE))
    assert found == pattern(SHAPE, BEFORE["cinc"], lambda c, d: d >= c)


def test_inverse_flow_samples_by_a_convolution(float64):
    layer = dense(InverseFlow(2, 3))
    found = depends(jacobian(layer.inverse, SHAPE))
    assert found == pattern(SHAPE, BEFORE["cinc"], lambda c, d: d <= c)
    forward = jacobian(lambda x: layer(x)[0], SHAPE)
    reached = forward[:, 3, 4, :, 0, 0]
    assert (reached > 0).all()
    assert layer.solver(CPU) == "compiled"


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("mask", ["square", "raster"])
def test_emerging_is_two_masked_dilated_convolutions(mask, dilation, float64):
    """Against F.conv2d with full k×k kernels and masks, written from the paper's picture."""
    k, channels = 3, 3
    layer = dense(Emerging(channels, k, mask=mask, bias=True, pointwise=True, dilation=dilation))
    x = torch.randn(2, channels, 5, 7)
    y = torch.einsum("cd,bdhw->bchw", layer.mixing.weight, x)
    for conv, flip in ((layer.first, True), (layer.second, False)):
        full = torch.zeros(channels, channels, k, k)
        taps = conv.triangular_weight()
        full[:, :, : taps.shape[2], : taps.shape[3]] = taps
        if flip:
            full = full.flip(2, 3)
        y = F.conv2d(y, full, padding=dilation, dilation=dilation)
    y = y + layer.second.shift[:, None, None]
    torch.testing.assert_close(layer(x)[0], y)
    torch.testing.assert_close(layer.inverse(y), x)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_parameter_counts(channels):
    c = channels
    triangle = c * (c + 1) // 2
    square = count_parameters(Emerging(c), (c, 4, 5))
    assert square == (8 * c * c, 2 * (3 * c * c + triangle))
    raster = count_parameters(Emerging(c, mask="raster"), (c, 4, 5))
    assert raster == (12 * c * c, 2 * (4 * c * c + triangle))
    assert count_parameters(CInC(c), (c, 4, 5)) == (9 * c * c, 9 * c * c - c * (c - 1) // 2)
    unit = 9 * c * c - triangle
    assert count_parameters(CInC(c, diagonal="unit"), (c, 4, 5)) == (9 * c * c, unit)
    assert count_parameters(InverseFlow(c), (c, 4, 5)) == (9 * c * c, unit)
    assert count_parameters(FInC(4 * c), (4 * c, 4, 5)) == (36 * c * c, 4 * unit)
    extras = count_parameters(Emerging(c, pointwise=True, bias=True), (c, 4, 5))
    assert extras[1] == square[1] + c * c + c


@pytest.mark.parametrize("name", ["finc", "cinc", "emerging"])
def test_initialisation_is_the_released_one(name):
    std = 0.05 if name == "finc" else 0.02
    layer = build(name, (40, 8, 8))
    convs = [part for part in layer.modules() if isinstance(part, TriangularConv)]
    for conv in convs:
        free, on_diagonal = entries(conv)
        assert abs(conv.weight[free].std().item() / std - 1) < 0.05
        diagonal = conv.triangular_weight()[on_diagonal]
        assert (diagonal - 1).abs().max() < (1e-7 if name == "finc" else 5 * std)
        assert (diagonal != 1).any() == (name != "finc")
    x = torch.randn(2, 40, 8, 8)
    assert (layer(x)[0] - x).norm() / x.norm() < 1.2 * std * math.sqrt(8 * 40) * len(convs)


@pytest.mark.parametrize(
    ("layer", "published"),
    [
        (FInC(8, inverse_method="published"), "diagonal_channel"),
        (CInC(3, inverse_method="published"), "raster_serial"),
        (CInC(3, diagonal="unit", inverse_method="diagonal_channel"), "diagonal_channel"),
        (Emerging(3, inverse_method="published"), "raster_serial"),
        (Emerging(3, mask="raster", dilation=2, inverse_method="published"), "raster_serial"),
    ],
    ids=str,
)
def test_the_published_algorithm_is_another_method_for_the_same_inverse(layer, published):
    layer = dense(layer.double())
    assert layer.solver(CPU) == published
    z = torch.randn(3, layer.channels, 5, 4, dtype=torch.float64)
    x = layer.inverse(z, check=True)
    layer.inverse_method = "auto"
    assert layer.solver(CPU) == "compiled"
    torch.testing.assert_close(x, layer.inverse(z))


def longest_chain(matrix):
    """Pixels on the longest path of a Jacobian (C, H, W, C, H, W), each needing the one before."""
    channels, height, width = matrix.shape[:3]
    pixels = matrix.permute(1, 2, 0, 4, 5, 3).reshape(height * width, channels, -1, channels)
    needs = (pixels > 1e-12).any(3).any(1)
    depth = {}

    def visit(p):
        if p not in depth:
            others = [q for q in torch.nonzero(needs[p]).flatten().tolist() if q != p]
            depth[p] = 1 + max(map(visit, others), default=0)
        return depth[p]

    return max(visit(p) for p in range(height * width))


@pytest.mark.parametrize("size", [(4, 5), (5, 3), (1, 4), (4, 1)])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel": (3, 3)},
        {"kernel": (2, 2), "corners": "br", "upper": True},
        {"kernel": (2, 3), "anchor": (1, 1)},
        {"kernel": (3, 5), "anchor": (2, 2), "corners": "tr"},
    ],
    ids=str,
)
def test_dependent_steps_are_the_longest_chain_of_pixels(options, size, float64):
    layer = dense(TriangularConv(2, **options))
    chain = longest_chain(jacobian(layer.convolve, (2, *size)))
    # A wavefront also steps over times at which no pixel of a narrow image lies.
    steps = layer.dependent_steps(*size)
    assert steps >= chain
    if size[1] >= 3 and size[0] <= size[1]:
        assert steps == chain


def test_dependent_steps():
    assert FInC(8).dependent_steps(32, 32) == 63
    assert CInC(3).dependent_steps(32, 32) == 63
    assert Emerging(3).dependent_steps(32, 32) == 126
    assert Emerging(3, mask="raster").dependent_steps(32, 32) == 2 * (2 * 31 + 32)
    assert Emerging(3, pointwise=True, dilation=2).dependent_steps(33, 32) == 2 * (16 + 16) + 1
    assert InverseFlow(3).dependent_steps(32, 32) == 1
    for name in ("glow", "woodbury", "periodic"):
        assert build(name, (3, 32, 32)).dependent_steps(32, 32) == 1
    assert build("macow", (3, 4, 5), orders="ABD").dependent_steps(4, 5) == 13


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (3, 1), (0, 4)])
def test_dilation_for_every_size(size):
    layer = dense(Emerging(2, dilation=2, mask="raster").double()).eval()
    x = torch.randn(3, 2, *size, dtype=torch.float64)
    with torch.no_grad():
        before = x.clone()
        torch.testing.assert_close(layer.inverse(layer(x)[0]), x)
    torch.testing.assert_close(x, before, rtol=0, atol=0)


def test_inverse_flow_refuses_an_inverse_that_is_none():
    layer = InverseFlow(2)
    with torch.no_grad():
        layer.convolution.weight.fill_(3.0)
    with pytest.raises(NumericalError, match=r"overflowed|residual"):
        layer.inverse(torch.randn(1, 2, 32, 32), check=True)


def test_a_learned_diagonal_may_be_negative(float64):
    torch.manual_seed(1)
    layer = TriangularConv(50, (2, 2), diagonal="learned", std=1.0)
    assert 0 < (layer.sign < 0).sum() < 25
    diagonal = layer.triangular_weight()[entries(layer)[1]]
    assert (diagonal.sign() == layer.sign).all()


def test_autocast_may_not_write_over_its_input():
    layer = Emerging(4, bias=True, pointwise=True).eval()
    x = torch.randn(2, 4, 6, 5)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        z, _ = layer(x.bfloat16())
        assert z.dtype == torch.float32
        torch.testing.assert_close(layer.inverse(z).float(), x, rtol=0.1, atol=0.1)
        layer.second.convolve(x.bfloat16(), overwrite=True)


def test_bad_options_get_one_sentence():
    with pytest.raises(ValueError, match="must be odd, not 4"):
        Emerging(3, 4)
    with pytest.raises(ValueError, match="unknown mask 'round'; known: square, raster"):
        Emerging(3, mask="round")
    with pytest.raises(ValueError, match="dilation must be an int of at least 1, not 0"):
        Emerging(3, dilation=0)
    with pytest.raises(ValueError, match="unknown diagonal 'zero'; known: unit, learned"):
        CInC(3, diagonal="zero")
    with pytest.raises(ValueError, match="unknown inverse_method"):
        InverseFlow(3, forward_method="magic")
    with pytest.raises(ValueError, match="multiple of 2, not 3"):
        TriangularConv(3, (2, 2), corners=("tl", "br"))
    for corners in ("xx", ()):
        with pytest.raises(ValueError, match="corner"):
            TriangularConv(3, (2, 2), corners=corners)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        TriangularConv(3, (0, 2))
    with pytest.raises(TypeError, match="must be an int"):
        TriangularConv(3, (2, 2.5))
    with pytest.raises(ValueError, match="std must be at least 0"):
        TriangularConv(3, (2, 2), std=-1.0)
