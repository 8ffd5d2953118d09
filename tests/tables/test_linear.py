"""Linear flows in closed form, against dense algebra and trained layers."""

import math

import pytest
import torch

from invconv.layers import optimal
from invconv.layers.triangular import TriangularConv
from invconv.rows import read_table
from invconv.tables.linear import masks, train_layer

NOISE = 1e-3
KINDS = [
    (1, optimal.quarter_plane(3)),
    (2, optimal.half_plane(3)),
    (4, optimal.four_corners(2)),
    (3, optimal.quarter_plane(1)),
]


def images(channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, channels, 5, 4, generator=generator, dtype=torch.float64)
    return x + 0.7 * x.roll(1, 2) + 0.5 * x.roll(1, 3) + 0.3 * x.roll(1, 1)


@pytest.mark.parametrize(("channels", "mask"), KINDS)
def test_the_fit_is_that_of_a_dense_regression(channels, mask):
    x = images(channels)
    found = optimal.fit(x, mask, 0.0)
    columns = torch.cat(list(optimal.features(x, mask.offsets)), 1)
    groups = len(mask.groups)
    for channel in range(channels):
        first = channel // (channels // groups) * (channels // groups)
        group = mask.groups[channel // (channels // groups)]
        seen = list(range(first, channel))  # at the pixel itself, which comes first
        places = [mask.offsets.index(offset) for offset in group]
        seen += [
            p * channels + c for p in places for c in range(first, first + channels // groups)
        ]
        target = columns[channel]
        left = target
        if seen:
            taps = torch.linalg.lstsq(columns[seen].T, target[:, None]).solution[:, 0]
            left = target - taps @ columns[seen]
            flat = found.weight[channel].flatten()
            assert torch.allclose(-flat[seen], taps, atol=1e-8)
        assert found.variance[channel] == pytest.approx(left.square().mean().item())
    assert found.weight[:, 0].diagonal().eq(1).all()


@pytest.mark.parametrize(("channels", "mask"), KINDS)
def test_bits_are_those_of_the_dense_gaussian(channels, mask):
    x, other = images(channels), images(channels, seed=1)
    found = optimal.fit(x, mask, NOISE)
    dense = optimal.matrix(found, 5, 4)
    assert torch.linalg.slogdet(dense).logabsdet.item() == pytest.approx(0, abs=1e-12)
    scale = found.variance.repeat_interleave(20)
    z = other.flatten(1) @ dense.T
    left = z.square() + NOISE * dense.square().sum(1)  # expected over independent noise
    nats = 0.5 * torch.log(2 * math.pi * scale) + left / (2 * scale)
    expected = 8 + nats.mean(1) / math.log(2)
    bits = optimal.bits_per_image(found, other, 256, NOISE)
    assert torch.allclose(bits, expected, atol=1e-10)


def test_moments_add_the_noise_of_every_pixel_that_is_there():
    x, offsets = images(1), optimal.half_plane(3).offsets
    clean, noisy = (optimal.moments(x, offsets, noise).gram for noise in (0.0, NOISE))
    inside = [(5 - abs(i)) * (4 - abs(j)) for i, j in offsets]
    expected = 40 * NOISE * torch.tensor(inside, dtype=torch.float64)
    assert torch.allclose((noisy - clean).diagonal(), expected)
    assert torch.equal(noisy.triu(1), clean.triu(1))


def test_a_layer_trained_to_convergence_finds_the_same():
    x, mask = images(1), optimal.quarter_plane(2)
    found = optimal.fit(x, mask, 0.0)
    layer = TriangularConv(1, (2, 2), std=0.0).double()
    train_layer(layer, x, 60)
    kernel = layer.triangular_weight()[0, 0]
    trained = torch.stack([kernel[1 + i, 1 + j] for i, j in mask.offsets])
    assert torch.allclose(trained, found.weight[0, :, 0], atol=1e-5)


def test_masks_that_fit():
    assert list(masks(1, [1, 2, 3])) == [
        "quarter plane k1",
        "quarter plane k2",
        "quarter plane k3",
        "half plane k3",
    ]
    assert "four corners k2" in masks(4, [2])
    assert masks(48, [11]) == {}
    with pytest.raises(ValueError, match="channels must be a multiple of 4, not 2"):
        optimal.fit(images(2), optimal.four_corners(2), 0.0)


def test_a_small_sweep(reproduce, tmp_path):
    done = reproduce("linear.py", "preset=tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "runs" / "tiny" / "results"
    rows = read_table(folder / "data" / "linear.csv")
    first = rows[rows["squeezes"] == 0].set_index("kernel")
    assert first.loc["quarter plane k1", "inverse_norm"] == 1
    assert first.loc["quarter plane k3", "bpd"] < first.loc["quarter plane k1", "bpd"]
    trained = first.loc["trained k2"]
    assert abs(trained["trained_bpd"] - trained["closed_bpd"]) < 5e-3
    page = (folder / "linear.md").read_text()
    assert "three neighbors take 4.17 bits per dimension to 3.94" in page
    assert len(list((folder / "figures").glob("linear-*.png"))) == 2
