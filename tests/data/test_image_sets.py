"""A set of images as torch's data sets are, and as a picture."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from invconv.data import ImageSet, load, save_images
from invconv.data.saving import GAP

DIGITS = load("digits", "test")


def test_items_slices_and_indices_are_images():
    assert isinstance(DIGITS, Dataset)
    assert torch.equal(DIGITS[3], DIGITS.images[3]) and DIGITS[3].dtype == torch.uint8
    assert torch.equal(DIGITS[-1], DIGITS.images[-1])
    assert torch.equal(DIGITS[2:5], DIGITS.images[2:5])
    assert torch.equal(DIGITS[[4, 1]], DIGITS.images[[4, 1]])
    assert torch.equal(DIGITS[torch.tensor([4, 1])], DIGITS.images[[4, 1]])
    assert len(list(DIGITS)) == len(DIGITS) == 250
    with pytest.raises(IndexError):
        DIGITS[250]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_of_torch_gives_every_image_once(workers):
    loader = DataLoader(DIGITS, batch_size=64, shuffle=True, num_workers=workers)
    batches = list(loader)
    assert [batch.shape[0] for batch in batches] == [64, 64, 64, 58]
    seen = torch.cat(batches)
    assert not torch.equal(seen, DIGITS.images)

    def sorted_images(images):
        return sorted(image.numpy().tobytes() for image in images)

    assert sorted_images(seen) == sorted_images(DIGITS.images)


def test_torchs_own_sets_take_it():
    both = ConcatDataset([DIGITS, Subset(DIGITS, [1, 2])])
    assert len(both) == 252
    assert torch.equal(both[251], DIGITS[2])


def pixels(path):
    return np.asarray(Image.open(path))


def test_a_saved_picture_holds_the_images(tmp_path):
    path = save_images(DIGITS, tmp_path / "new" / "digits.png", columns=5)
    picture = pixels(path)
    assert picture.shape == (50 * (56 + GAP) + GAP, 5 * (56 + GAP) + GAP, 3)
    shown = picture[GAP : GAP + 56 : 7, 2 * GAP + 56 : 2 * GAP + 112 : 7, 0]
    assert np.abs(shown - DIGITS[1][0].numpy() * (255 / 16)).max() <= 0.5
    same = save_images(DIGITS.images, tmp_path / "again.png", levels=17, columns=5)
    assert same.read_bytes() == path.read_bytes()


def test_integers_and_numbers_from_0_to_1_are_the_same_picture(tmp_path):
    images = torch.arange(256).repeat(3).view(1, 3, 16, 16)
    kinds = (images, images.byte(), images / 255, (images / 255).double().requires_grad_())
    files = [save_images(one, tmp_path / f"{i}.png") for i, one in enumerate(kinds)]
    assert len({path.read_bytes() for path in files}) == 1
    picture = pixels(files[0])[GAP:-GAP:4, GAP:-GAP:4]
    assert np.array_equal(picture, images[0].permute(1, 2, 0).numpy())
    one = save_images(DIGITS[:7], str(tmp_path / "seven.png"), levels=17)
    assert pixels(one).shape[:2] == (3 * 59 + GAP, 3 * 59 + GAP)


def test_pictures_that_are_refused(tmp_path):
    good = torch.zeros(2, 1, 4, 4)
    for images, options, message in (
        (good[0], {}, r"must have shape \(N, C, H, W\) .* for one image pass image\[None\]"),
        (good[:0], {}, "N at least 1"),
        (torch.zeros(1, 2, 4, 4), {}, "with C 1 or 3"),
        (good - 0.1, {}, "must be numbers from 0 to 1, not from -0.1"),
        (good * torch.nan, {}, "must be numbers from 0 to 1, not from nan"),
        (good.byte() + 17, {"levels": 17}, "integers from 0 to 16, not from 17 to 17: give the"),
        (good, {"levels": 1}, "levels must be 2 to 256"),
        (good, {"columns": 0}, "columns must be an int of at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            save_images(images, tmp_path / "x.png", **options)
    with pytest.raises(ValueError, match=r"must end with \.png, not 'x\.jpg'"):
        save_images(good, tmp_path / "x.jpg")
    with pytest.raises(TypeError, match=r"a torch\.Tensor or an ImageSet, not list"):
        save_images([good], tmp_path / "x.png")
    assert not [*tmp_path.iterdir()]


def test_a_set_of_two_levels_is_black_and_white(tmp_path):
    coins = ImageSet("coins", "test", torch.tensor([0, 1]).byte().view(2, 1, 1, 1), levels=2)
    picture = pixels(save_images(coins, tmp_path / "coins.png"))
    assert set(np.unique(picture[GAP:-GAP, GAP : GAP + 56])) == {0}
    assert set(np.unique(picture[GAP:-GAP, 2 * GAP + 56 : -GAP])) == {255}
