"""Folders as people have them: names of splits, what systems and unzip tools leave, links."""

import os

import pytest
import torch
from image_files import pixels, write_folder

from invconv.data import SPLITS, load
from invconv.data.folders import split_files

IMAGES = pixels(10, (3, 4, 6))


def sizes(folder):
    return [len(load("folder", split, path=folder)) for split in SPLITS]


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Val", "Test"),
        ("TRAIN", "VALID", "TEST"),
        ("training", "validation", "testing"),
        ("Training", "Validation", "Testing"),
        ("train2017", "val2017", "test2017"),
        ("DIV2K_train_HR", "DIV2K_valid_HR", "my-test"),
        ("01 train", "02 valid", "03 test"),
        ("trainImages", "valImages", "testImages"),
        ("TRAIN", "data/valid", "data/Test/a"),
    ],
)
def test_split_folders_in_any_letters_are_the_splits(tmp_path, names):
    """A folder that is no split would be pooled, and its test images be trained on."""
    for name, count in zip(names, (10, 4, 3), strict=True):
        write_folder(tmp_path / name, IMAGES[:count])
    assert sizes(tmp_path) == [10, 4, 3]


@pytest.mark.parametrize("name", ["trainers", "VALUES", "latest", "contest", "retrain", "tests"])
def test_words_that_hold_the_name_of_a_split_are_none(tmp_path, name):
    write_folder(tmp_path / name, IMAGES)
    assert list(split_files(tmp_path)) == [""]


def test_images_outside_of_the_split_folders_are_said(tmp_path):
    for name in ("train", "test", "extra"):
        write_folder(tmp_path / name, IMAGES)
    said = r"10 of its images are not read, such as .*extra/00000\.png: move them to a folder"
    with pytest.warns(UserWarning, match=said):
        assert sizes(tmp_path) == [9, 1, 10]


def test_what_systems_and_unzip_tools_leave_is_no_image(tmp_path):
    write_folder(tmp_path / "train", IMAGES)
    write_folder(tmp_path / "test", IMAGES[:3])
    for name in ("._00000.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "train" / name).write_bytes(b"no image")
    for name in ("__MACOSX/train", "train/@eaDir/00000.png", "#recycle/test", "$RECYCLE.BIN"):
        write_folder(tmp_path / name, IMAGES)
    assert sizes(tmp_path) == [9, 1, 3]


def test_a_link_to_a_folder_above_is_not_followed(tmp_path):
    write_folder(tmp_path / "train", IMAGES)
    write_folder(tmp_path / "test", IMAGES[:3])
    os.symlink("..", tmp_path / "train" / "all")
    assert sizes(tmp_path) == [9, 1, 3]


def test_two_links_to_one_folder_are_both_read(tmp_path):
    write_folder(tmp_path / "elsewhere", IMAGES)
    for name in ("train", "test"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        os.symlink("../elsewhere", tmp_path / "mine" / name)
    assert sizes(tmp_path / "mine") == [9, 1, 10]


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    write_folder(tmp_path / "a", IMAGES)
    write_folder(tmp_path / "b", IMAGES)
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError, match=r"Permission denied: .*b'"):
        load("folder", "train", path=tmp_path)


@pytest.mark.parametrize("name", ["emnist-letters", "EMNIST-Letters"])
def test_emnist_is_upright_whatever_letters_its_name_has(tmp_path, name):
    images = pixels(10, (2, 3))
    header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in images.shape)
    for split in ("train", "test"):
        path = tmp_path / f"{name}-{split}-images-idx3-ubyte"
        path.write_bytes(header + images.tobytes())
    upright = torch.from_numpy(images).mT[:, None]
    assert torch.equal(load("folder", "test", path=tmp_path).images, upright)
