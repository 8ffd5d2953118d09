"""The embedded data and their splits."""

import ast
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images

from invconv.data import (
    EMBEDDED,
    SPLITS,
    ImageSet,
    check_disjoint,
    histogram_bits_per_dim,
    load,
    shared_images,
)
from invconv.data.photographs import PHOTOGRAPHS
from invconv.rows.provenance import ROOT


@pytest.mark.parametrize("name", EMBEDDED)
def test_images_fit_their_levels(name):
    for split in SPLITS:
        data = load(name, split)
        assert data.images.dtype == torch.uint8
        assert data.images.ndim == 4
        assert (data.name, data.split) == (name, split)
        assert len(data) == len(data.images) > 0
        assert int(data.images.max()) < data.levels
    assert int(load(name, "train").images.max()) == data.levels - 1
    assert (load(name, "test").images == load(name, "test").images).all()


def test_digits_splits_are_disjoint():
    splits = [load("digits", split).images.flatten(1) for split in SPLITS]
    assert [len(images) for images in splits] == [1297, 250, 250]
    images = [tuple(image.tolist()) for split in splits for image in split]
    assert len(set(images)) == len(images) == 1797


def test_no_photograph_is_in_two_splits():
    names = [{one.name for one in PHOTOGRAPHS if one.split == split} for split in SPLITS]
    assert sum(map(len, names)) == len(set.union(*names)) == 7
    for split, known, count in zip(SPLITS, names, (4110, 104, 178), strict=True):
        data = load("photographs", split)
        assert set(data.groups) == known
        assert len(data) == len(data.groups) == count
        assert all(one.license for one in PHOTOGRAPHS)


def test_photographs_are_crops_averaged_down():
    china = torch.tensor(load_sample_images().images[0]).permute(2, 0, 1).double()
    whole = load("photographs", "train", size=64)
    assert whole.groups[:851] == ("china",) * 851
    assert (whole.images[1] == china[:, :64, 16:80]).all()
    small = load("photographs", "train", size=16).images[1].double()
    by_hand = china[:, :64, 16:80].view(3, 16, 4, 16, 4).mean((2, 4))
    assert (small - by_hand).abs().max() <= 0.5
    assert (
        load("photographs", "test").images == load("photographs", "test", size=32).images
    ).all()
    with pytest.raises(ValueError, match="size must be 2, 4, 8, 16, 32 or 64, not 28"):
        load("photographs", "train", size=28)


@pytest.mark.parametrize("name", EMBEDDED)
def test_no_test_image_of_a_shipped_set_is_trained_on(name):
    train, valid, test = (load(name, split) for split in SPLITS)
    assert shared_images(train, test) == shared_images(train, valid) == 0
    check_disjoint(train, test, shipped=True)


def test_permuted_pixels_are_the_same_permutation_everywhere():
    whole = {split: load("digits", split) for split in SPLITS}
    moved = {split: load("digits", split, pixels="permuted") for split in SPLITS}
    order = np.random.RandomState(0).permutation(64)
    for split in SPLITS:
        assert torch.equal(
            moved[split].images.flatten(2), whole[split].images.flatten(2)[..., order]
        )
    assert histogram_bits_per_dim(moved["train"], moved["test"]) == pytest.approx(
        histogram_bits_per_dim(whole["train"], whole["test"])
    )


def test_shifted_images_are_circular_shifts():
    whole, moved = load("digits", "test"), load("digits", "test", pixels="shifted")
    assert torch.equal(load("digits", "test", pixels="shifted").images, moved.images)
    shifts = set()
    for before, after in zip(whole.images, moved.images, strict=True):
        found = [
            (i, j)
            for i in range(8)
            for j in range(8)
            if torch.equal(before.roll((-i, -j), (1, 2)), after)
        ]
        assert found
        shifts.add(found[0])
    assert len(shifts) > 40
    with pytest.raises(ValueError, match="unknown arrangement of pixels 'mixed'; known: permuted"):
        load("digits", "test", pixels="mixed")


def test_test_images_in_training_are_refused_or_told():
    train, test = load("digits", "train"), load("digits", "test")
    both = ImageSet("digits", "test", torch.cat([test.images, train.images[:3]]), 17)
    with pytest.raises(ValueError, match="3 of the 253 test images of digits are also trained on"):
        check_disjoint(train, both, shipped=True)
    with pytest.warns(UserWarning, match=r"3 of the 253 .* their bits per dimension are too low"):
        check_disjoint(train, both, shipped=False)
    one = ImageSet("p", "train", train.images[:2], 17, groups=("a", "b"))
    other = ImageSet("p", "test", test.images[:2], 17, groups=("b", "c"))
    with pytest.raises(ValueError, match="b of p is in the train and test splits"):
        check_disjoint(one, other, shipped=True)
    with pytest.raises(ValueError, match="has 2 images and 1 groups"):
        ImageSet("p", "test", test.images[:2], 17, groups=("b",))


def test_histogram_by_hand():
    train = ImageSet("a", "train", torch.tensor([0, 0, 1], dtype=torch.uint8).view(3, 1, 1, 1), 2)
    test = ImageSet("a", "test", torch.tensor([0, 1], dtype=torch.uint8).view(2, 1, 1, 1), 2)
    truth = -(torch.tensor(3 / 5).log2() + torch.tensor(2 / 5).log2()).item() / 2
    assert histogram_bits_per_dim(train, test) == pytest.approx(truth)
    images = torch.tensor([[0, 1], [0, 1]], dtype=torch.uint8).view(2, 1, 1, 2)
    two = ImageSet("a", "train", images, 2)
    assert histogram_bits_per_dim(two, two) == pytest.approx(-torch.tensor(3 / 4).log2().item())
    assert histogram_bits_per_dim(two, two, pooled=True) == pytest.approx(1)


def test_histogram_of_more_images_than_fit_one_piece():
    """The same as all pixels at once."""
    data, other = (load("photographs", split) for split in ("train", "test"))
    data = ImageSet("photographs", "train", data.images[:1500], 256)
    pixels = data.images.flatten(1).long()
    counts = torch.ones(3072, 256, dtype=torch.float64)
    counts.scatter_add_(1, pixels.T, torch.ones(pixels.T.shape, dtype=torch.float64))
    log_prob = (counts / counts.sum(1, keepdim=True)).log2()
    truth = -log_prob.gather(1, other.images.flatten(1).T.long()).mean().item()
    assert histogram_bits_per_dim(data, other) == pytest.approx(truth, rel=1e-12)


def test_unknown_names_and_options():
    with pytest.raises(ValueError, match="unknown data set 'mnis'; known: digits, photographs"):
        load("mnis", "train")
    with pytest.raises(ValueError, match="unknown split 'val'; known: train, valid, test"):
        load("digits", "val")
    with pytest.raises(TypeError, match="digits has no option 'bits'; known: none"):
        load("digits", "train", bits=5)
    with pytest.raises(TypeError, match="mnist has no option 'version'; known: path, bits"):
        load("mnist", "train", version=2016)
    assert len(load("digits", "train", root="/nowhere", path=None)) == 1297


def test_images_that_are_none():
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match="the test split of mine is empty"):
        ImageSet("mine", "test", images[:0], 256)
    with pytest.raises(ValueError, match="has a pixel of 17, but 17 levels are 0 to 16"):
        ImageSet("mine", "test", images + 17, 17)
    with pytest.raises(ValueError, match=r"must be \(N, C, H, W\), not \(2, 4, 4\)"):
        ImageSet("mine", "test", images[:, 0], 256)
    with pytest.raises(TypeError, match=r"must be a torch.Tensor of uint8, not torch.float32"):
        ImageSet("mine", "test", images.float(), 256)
    with pytest.raises(ValueError, match="levels must be 2 to 256, not 257"):
        ImageSet("mine", "test", images, 257)


def test_what_the_extra_brings_is_imported_where_it_is_needed_only():
    """By `formats.extra` alone: nothing of it is imported along with the package."""
    for path in (ROOT / "invconv").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [getattr(node, "module", None) or ""]
            found = {name.split(".")[0] for name in names}
            assert not found & {"datasets", "pyarrow", "huggingface_hub"}, path


def test_a_job_loads_no_library_that_it_may_not_need():
    """scikit-learn alone takes a second, in every job of a sweep."""
    code = "import sys, invconv.tables.table1; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split()
    assert {"invconv.sweeps.application", "invconv.data.digits"} <= set(loaded)
    assert any(name.startswith("invconv.report.") for name in loaded)
    assert not {"sklearn", "skimage", "scipy"} & set(loaded)
