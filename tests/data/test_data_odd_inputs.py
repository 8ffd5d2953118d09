"""Odd numbers and types at the functions of the data sets: taken, or refused in one sentence."""

import numpy as np
import pytest
import torch
from image_files import pixels, write_folder

from invconv.data import (
    DataSet,
    ImageSet,
    Loader,
    augment,
    batch_indices,
    histogram_bits_per_dim,
    load,
)


def black(count=3, levels=256, side=4):
    images = torch.zeros(count, 1, side, side, dtype=torch.uint8)
    return ImageSet("black", "train", images, levels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    write_folder(path, pixels(10, (1, 4, 4)) % 17)
    return path


@pytest.mark.parametrize("bits", [True, 8.0, 5.0, "5", 0, 9])
def test_an_odd_number_of_bits_is_refused(folder, bits):
    with pytest.raises(ValueError, match=r"bits must be 1 to 8, and 8 if levels is given, not"):
        load("folder", "train", path=folder, bits=bits)


@pytest.mark.parametrize("levels", [True, 17.0, "17", 1, 257])
def test_an_odd_number_of_levels_is_refused(folder, levels):
    with pytest.raises(ValueError, match=r"levels must be 2 to 256, not"):
        load("folder", "train", path=folder, levels=levels)
    with pytest.raises(ValueError, match=r"levels must be 2 to 256, not"):
        black(levels=levels)
    with pytest.raises(ValueError, match=r"levels must be 2 to 256, or None, not"):
        DataSet("mine", "mine", levels=levels)


def test_numbers_of_numpy_are_taken(folder):
    assert type(load("folder", "train", path=folder, levels=np.int64(17)).levels) is int
    assert load("folder", "train", path=folder, bits=np.int64(5)).levels == 32
    assert load("folder", "train", path=folder, size=np.int64(2)).shape == (1, 2, 2)


def test_an_empty_path_does_not_read_the_working_directory():
    with pytest.raises(ValueError, match=r"folder needs a folder or a file of images"):
        load("folder", "train", path="")


@pytest.mark.parametrize("size", [2.0, "2", True, 0, 1, -64, 3])
def test_an_odd_size_of_photographs_is_refused(size):
    with pytest.raises(ValueError, match=r"size must be 2, 4, 8, 16, 32 or 64, not"):
        load("photographs", "valid", size=size)


def test_images_that_are_no_tensor_are_refused():
    with pytest.raises(TypeError, match=r"must be a torch.Tensor of uint8, not <class 'numpy"):
        ImageSet("mine", "train", np.zeros((1, 1, 4, 4), np.uint8), 256)


@pytest.mark.parametrize("shape", [(1, 8), (0, 8, 8), "abc"])
def test_a_data_set_of_an_odd_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"shape must be \(C, H, W\) with integers of at least 1"):
        DataSet("mine", "mine", shape=shape)


@pytest.mark.parametrize("other", [black(side=2), black(levels=17)])
def test_a_histogram_of_splits_that_do_not_fit_is_refused(other):
    """It was 112 bits per dimension, or an IndexError."""
    with pytest.raises(ValueError, match=r"must have one shape and as many levels"):
        histogram_bits_per_dim(black(), other)


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        ((0, 4, 0, 0), "size"),
        ((4, 0, 0, 0), "batch_size"),
        ((4, 2.0, 0, 0), "batch_size"),
        ((4, True, 0, 0), "batch_size"),
        ((4, 4, -1, 0), "seed"),
        ((4, 4, 0, -1), "step"),
        ((4, 4, 0, 1.0), "step"),
    ],
)
def test_an_odd_batch_is_refused(numbers, name):
    with pytest.raises(ValueError, match=f"^{name} must be an int of at least"):
        batch_indices(*numbers)


@pytest.mark.parametrize(
    "odd",
    [
        {"batch_size": 2.0},
        {"batch_size": True},
        {"batch_size": "2"},
        {"seed": 1.5},
        {"seed": "1"},
        {"rank": 0.0},
        {"world_size": 2.0},
        {"world_size": 0},
    ],
    ids=str,
)
def test_an_odd_loader_is_refused(odd):
    (name,) = odd
    with pytest.raises(ValueError, match=f"{name} must be an int of at least"):
        Loader(black(), **{"batch_size": 2, "seed": 0, **odd})


def test_an_odd_stream_is_refused():
    loader = Loader(black(), 2, 0)
    with pytest.raises(ValueError, match=r"ahead must be an int of at least 0, not -1"):
        loader.stream(ahead=-1)
    with pytest.raises(ValueError, match=r"first_step must be an int of at least 0, not -1"):
        loader.stream(-1)
    with pytest.raises(ValueError, match=r"affine must be at least 0 and less than 0.5, not '1'"):
        Loader(black(), 2, 0, affine="1")


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (2, 0, 4, 4), (2, 1, 0, 4), (2, 1, 4, 0)])
def test_augmenting_no_values_gives_none(shape):
    none = np.zeros(shape, np.uint8)
    assert augment(none, 0, 0, flip=True, affine=0.4).shape == shape
