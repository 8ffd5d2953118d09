"""Pictures of a flow, loss curves, and the look they share."""

import itertools

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from invconv.curves import loss_curves, read_curve
from invconv.data.saving import GAP, grid
from invconv.flows import ActNorm, LevelFlow, MultiScaleFlow
from invconv.methods import method, methods
from invconv.pictures import interpolate, write_pictures
from invconv.report.document import save
from invconv.rows import Row, write_row

SWEPT = [one for one in methods().values() if one.swept]


class Identity(LevelFlow):
    def __init__(self, shape, bins):
        super().__init__(shape, bins)
        self.levels.append(torch.nn.ModuleList([ActNorm(shape[0])]))
        self.latent_shapes = [shape]


def small_flow(shape=(1, 8, 8), bins=17):
    return MultiScaleFlow("finc", shape, levels=1, steps=1, width=4, bins=bins)


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def places(picture, block):
    """How often the block's pixels are in the picture, not far from its left edge."""
    height, width, _ = block.shape
    rows, columns, _ = picture.shape
    return sum(
        (picture[top : top + height, left : left + width] == block).all()
        for top in range(rows - height + 1)
        for left in range(min(40, columns - width + 1))
        if (picture[top, left : left + width] == block[0]).all()
    )


@pytest.mark.parametrize(("bins", "shape"), [(17, (1, 8, 8)), (32, (3, 8, 4)), (256, (3, 4, 4))])
def test_pictures_hold_the_images_and_are_repeatable(bins, shape, tmp_path):
    flow = small_flow(shape, bins)
    images = torch.randint(bins, (5, *shape), dtype=torch.uint8)
    flow.initialize(images)
    flow.train()
    paths = write_pictures(flow, images, tmp_path / "a", seed=3)
    assert [path.name for path in paths] == [
        "samples.png",
        "reconstructions.png",
        "interpolations.png",
    ]
    assert flow.training
    again = write_pictures(flow, images, tmp_path / "b", seed=3)
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]
    other = write_pictures(flow, images, tmp_path / "c", seed=4)
    assert paths[0].read_bytes() != other[0].read_bytes()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(p.name for p in paths)

    shown = pixels(paths[1])
    assert places(shown, grid(images, bins, 5)) == 2  # the originals and what became of them
    flow.eval()
    samples = flow.sample(64, generator=torch.Generator().manual_seed(3))
    assert places(pixels(paths[0]), grid(samples, bins, 8))
    ends = pixels(paths[2])
    scale = 56 // shape[1]
    first = grid(images[:1], bins, 1)[:, : GAP + scale * shape[2]]
    assert places(ends, first)


@pytest.mark.parametrize(("levels", "half"), [(17, 128), (32, 132), (256, 128)])
def test_a_grid_uses_the_full_range_and_square_pixels(levels, half):
    images = torch.tensor([[0, levels // 2], [levels - 1, 0]]).view(1, 1, 2, 2)
    block = grid(images, levels, 1)
    assert block.shape == (56 + 2 * GAP, 56 + 2 * GAP, 3)
    inside = block[GAP:-GAP, GAP:-GAP]
    assert (inside[:28, :28] == 0).all()
    assert (inside[:28, 28:] == half).all()
    assert (inside[28:, :28] == 255).all()
    three = grid(images.expand(5, 3, 2, 2), levels, 2)
    assert three.shape == (3 * 59 + GAP, 2 * 59 + GAP, 3)
    color = torch.tensor([levels - 1, 0, 0]).view(1, 3, 1, 1)
    assert grid(color, levels, 1)[GAP, GAP].tolist() == [255, 0, 0]


def test_the_error_is_that_of_the_round_trip(tmp_path, monkeypatch):
    """A decoder that is off by 0.3 levels, and one that overflows."""
    titles = []
    text = Figure.text
    monkeypatch.setattr(
        Figure, "text", lambda s, x, y, t, **k: titles.append(t) or text(s, x, y, t, **k)
    )
    flow = Identity((1, 4, 4), 17)
    images = torch.randint(1, 16, (2, 1, 4, 4))
    write_pictures(flow, images, tmp_path)
    assert titles[2] == "reconstructed: 0 of 32 values differ"
    assert titles[3].startswith("|error| × 1, at most 0.0e+00 of 17 levels")

    titles.clear()
    prepare = flow.dequantization.preprocessing
    monkeypatch.setattr(
        flow, "decode", lambda latents: prepare(prepare.inverse(latents[0]) + 0.3)[0]
    )
    write_pictures(flow, images, tmp_path)
    assert titles[3].startswith("|error| × 10, at most 3.0e-01")
    expected = grid(torch.full((2, 1, 4, 4), 3), 17, 2)
    assert places(pixels(tmp_path / "reconstructions.png"), expected)

    titles.clear()
    monkeypatch.setattr(flow, "decode", lambda latents: latents[0] * torch.nan)
    write_pictures(flow, images, tmp_path)
    assert titles[3].endswith("; 32 values not finite (white)")


def test_interpolation_keeps_to_the_sphere(float64):
    first = [torch.randn(3, 2, 4, 4), torch.randn(3, 8, 2, 2)]
    second = [torch.randn(3, 2, 4, 4), torch.randn(3, 8, 2, 2)]

    def vectors(latents):
        return torch.cat([latent.flatten(1) for latent in latents], 1)

    norm = vectors(first).norm(dim=1)
    second = [x * (norm / vectors(second).norm(dim=1)).view(3, 1, 1, 1) for x in second]
    between = interpolate(first, second, 7)
    assert [latent.shape for latent in between] == [(21, 2, 4, 4), (21, 8, 2, 2)]
    path = vectors(between).view(3, 7, -1)
    torch.testing.assert_close(path[:, 0], vectors(first))
    torch.testing.assert_close(path[:, -1], vectors(second))
    torch.testing.assert_close(path.norm(dim=2), norm[:, None].expand(3, 7))
    steps = path.diff(dim=1).norm(dim=2)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps))
    same = interpolate(first, [2 * x for x in first], 3)
    torch.testing.assert_close(same[0].view(3, 3, 2, 4, 4)[:, 1], 1.5 * first[0])


def test_pictures_refuse_what_they_cannot_show(tmp_path):
    with pytest.raises(ValueError, match="1 or 3 channels, not 2"):
        write_pictures(
            Identity((2, 4, 4), 5), torch.zeros(4, 2, 4, 4, dtype=torch.uint8), tmp_path
        )
    with pytest.raises(ValueError, match="at least 2 images are needed to interpolate, not 1"):
        write_pictures(
            Identity((1, 4, 4), 5), torch.zeros(1, 1, 4, 4, dtype=torch.uint8), tmp_path
        )


HEADER = "step,train_bpd,valid_bpd,learning_rate,grad_norm,images_per_s\n"
LOG = HEADER + "1,60.0,,0.001,3.0,\n50,4.0,4.2,0.002,2.0,900\n100,3.5,,,,\n100,,3.75,0.001,,\n"


def make_cells(folder):
    names = ["default-digits-finc-s0-01234567", "default-digits-finc_paper-s1-89abcdef", "other"]
    for name in names:
        (folder / name).mkdir()
        (folder / name / "log.csv").write_text(LOG)
    labels = {"method": "glow", "dataset": "photographs", "seed": 0}
    source = {"machine": "m", "commit": "1", "date": "2026-01-01"}
    row = Row("other", "table2", "error", labels=labels, provenance=source)
    write_row(row, folder / "other" / "row.json")
    (folder / "empty").mkdir()
    (folder / "empty" / "log.csv").write_text(HEADER)
    return [folder / name for name in (*names, "empty", "absent")]


def test_a_log_is_read_with_its_method(tmp_path):
    curves = [read_curve(cell) for cell in make_cells(tmp_path)]
    assert curves[3:] == [None, None]
    assert [(curve.method, curve.dataset) for curve in curves[:3]] == [
        ("finc", "digits"),
        ("finc_paper", "digits"),
        ("glow", "photographs"),
    ]
    log = curves[0].log
    assert log["step"].tolist() == [1, 50, 100, 100]
    assert log["valid_bpd"].dropna().tolist() == [4.2, 3.75]


def test_loss_curves_draw_every_cell(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("invconv.curves.save", lambda figure, path: drawn.append(figure))
    loss_curves(make_cells(tmp_path), tmp_path / "loss.svg")
    digits, photographs = drawn[0].axes
    assert (digits.get_title(), photographs.get_title()) == ("digits", "photographs")
    train, valid, _, own = digits.get_lines()
    assert train.get_xydata().tolist() == [[1, 60], [50, 4], [100, 3.5]]
    assert valid.get_xydata().tolist() == [[50, 4.2], [100, 3.75]]
    assert train.get_color() == valid.get_color() == own.get_color() == method("finc").color
    assert own.get_linestyle() == "--"
    assert photographs.get_lines()[0].get_color() == method("glow").color
    assert digits.get_ylim()[1] < 5  # the first loss, 60, would hide the rest
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend == ["Glow", "FInC", "FInC, own step", "training"]
    assert drawn[0].get_supxlabel() == "2 of 5 cells have no log"


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_figures_are_repeatable_to_the_byte(suffix, tmp_path):
    cells = make_cells(tmp_path)
    one, two = (loss_curves(cells, tmp_path / f"{name}{suffix}") for name in "ab")
    assert one.read_bytes() == two.read_bytes()
    if suffix == ".svg":
        assert b"dc:date" not in one.read_bytes()
    assert loss_curves([], tmp_path / f"none{suffix}").exists()


def test_a_figure_has_a_known_suffix(tmp_path):
    with pytest.raises(ValueError, match=r"as \.svg, \.png, \.pdf, not '\.bmp'"):
        save(Figure(), tmp_path / "figure.bmp")
    assert not list(tmp_path.iterdir())


def test_every_method_has_a_look_of_its_own():
    shown = [name for name, one in methods().items() if one.swept or one.step == "paper"]
    looks = {tuple(sorted(method(name).look.items())) for name in shown}
    assert len(looks) == len(shown) == 25
    assert len({one.marker for one in SWEPT}) == len(SWEPT) == 16
    assert method("mine").title == "mine"
    assert method("mine_paper").look["linestyle"] == "-"
    assert method("finc_paper").look["markerfacecolor"] == "white"


# Machado, Oliveira and Fernandes 2009, severity 1, on linear sRGB
VISION = {
    "normal": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]


def lab(color, vision):
    """CIELAB of a hexadecimal color as it is seen."""
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    x, y, z = np.cbrt(np.array(XYZ) @ seen / [0.95047, 1, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
def test_colours_are_apart_with_any_colour_vision(vision):
    for a, b in itertools.combinations([one.color for one in SWEPT], 2):
        assert np.linalg.norm(lab(a, vision) - lab(b, vision)) > 15, (a, b)
