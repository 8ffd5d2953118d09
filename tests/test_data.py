"""The embedded data and their splits."""

import pytest
import torch
from sklearn.datasets import load_sample_images

from invconv.data import DATASETS, SPLITS, ImageSet, histogram_bits_per_dim, load
from invconv.data.embedded import PATCH_SIZE, STRIDE, STRIPS


@pytest.mark.parametrize("name", DATASETS)
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


def test_patches_splits_share_no_pixel():
    """The patches are cut once more from photographs whose pixels are numbered."""
    height, width = load_sample_images().images[0].shape[:2]
    numbered = torch.arange(height * width).view(1, height, width)
    seen = []
    for split in SPLITS:
        first, last = STRIPS[split]
        strip = numbered[:, :, first:last]
        cut = strip.unfold(1, PATCH_SIZE, STRIDE[split]).unfold(2, PATCH_SIZE, STRIDE[split])
        seen.append(set(cut.flatten().tolist()))
        assert 2 * cut.shape[1] * cut.shape[2] == len(load("patches", split))
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    photo = torch.tensor(load_sample_images().images[0]).permute(2, 0, 1)
    first = load("patches", "test").images
    assert (first[0] == photo[:, :32, 544:576]).all()
    assert (first[1] == photo[:, :32, 560:592]).all()


def test_histogram_by_hand():
    train = ImageSet("a", "train", torch.tensor([0, 0, 1], dtype=torch.uint8).view(3, 1, 1, 1), 2)
    test = ImageSet("a", "test", torch.tensor([0, 1], dtype=torch.uint8).view(2, 1, 1, 1), 2)
    truth = -(torch.tensor(3 / 5).log2() + torch.tensor(2 / 5).log2()).item() / 2
    assert histogram_bits_per_dim(train, test) == pytest.approx(truth)


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown data set 'mnis'; known: digits, patches"):
        load("mnis", "train")
    with pytest.raises(ValueError, match="unknown split 'val'; known: train, valid, test"):
        load("digits", "val")
