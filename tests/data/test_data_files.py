"""Published data sets read from small files in their own formats, and images of one's own."""

import importlib
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from image_files import (
    encoded,
    pixels,
    write_arrays,
    write_folder,
    write_npz,
    write_parquet,
)

from invconv.data import SPLITS, formats, label, load
from invconv.data.decode import read_images
from invconv.data.published_sets import PUBLISHED_SETS, held_out

WHERE = r"train-00000\.parquet, row 3, "


@pytest.fixture
def shrink(monkeypatch):
    """Files of a few images count as complete."""

    def shrunk(name, kept, **counts):
        monkeypatch.setitem(
            PUBLISHED_SETS, name, replace(PUBLISHED_SETS[name], counts=counts, held_out=kept)
        )

    monkeypatch.delenv("INVCONV_DATA", raising=False)
    return shrunk


def write_hub(folder, column, shape, train=20, test=6, other="test"):
    """Two shards to train on, one to test."""
    images, held = pixels(train, shape), pixels(test, shape, seed=1)
    write_parquet(folder / "train-00000-of-00002.parquet", images[: train // 2], column)
    write_parquet(folder / "train-00001-of-00002.parquet", images[train // 2 :], column)
    write_parquet(folder / f"{other}-00000-of-00001.parquet", held, column)
    return torch.from_numpy(images), torch.from_numpy(held)


@pytest.mark.parametrize(
    ("name", "folder", "column", "shape"),
    [("mnist", "mnist", "image", (1, 28, 28)), ("cifar10", "plain_text", "img", (3, 32, 32))],
)
def test_parquet_as_on_the_hub(tmp_path, shrink, monkeypatch, name, folder, column, shape):
    shrink(name, 5, train=20, test=6)
    images, held = write_hub(tmp_path / name / folder, column, shape)
    train, valid, test = (load(name, split, tmp_path) for split in SPLITS)
    assert torch.equal(train.images, images[:15])
    assert torch.equal(valid.images, images[15:])
    assert torch.equal(test.images, held)
    assert (test.name, test.split, test.levels, test.shape) == (name, "test", 256, shape)
    assert test.source == str(tmp_path / name)
    monkeypatch.setenv("INVCONV_DATA", str(tmp_path))
    assert torch.equal(load(name, "test").images, held)
    assert torch.equal(load(name, "test", "/nowhere", path=tmp_path / name).images, held)
    five = load(name, "test", bits=5)
    assert five.levels == 32
    assert torch.equal(five.images, held // 8)


def test_published_splits():
    """Exactly the numbers of the papers and of the released files."""
    expected = {
        "mnist": (50_000, 10_000, 10_000),
        "cifar10": (40_000, 10_000, 10_000),
        "imagenet32": (1_261_149, 20_000, 49_999),
        "imagenet64_2021": (1_261_167, 20_000, 50_000),
        "celeba": (162_770, 19_867, 19_962),
    }
    for name, (train, valid, test) in expected.items():
        published = PUBLISHED_SETS[name]
        kept = published.held_out or published.counts["valid"]
        total = train + (valid if published.held_out else 0)
        assert (total, kept, published.counts[published.test]) == (
            published.counts["train"],
            valid,
            test,
        )
    kept = held_out(1_281_149, 20_000, drawn=True)[1]
    assert kept[:3].tolist() == [106, 227, 228]  # of every NumPy, on every machine


def test_imagenet_of_2021_as_npz(tmp_path, shrink):
    shrink("imagenet32_2021", 4, train=20, valid=6)
    images, held = pixels(20, (3, 32, 32)), pixels(6, (3, 32, 32), seed=1)
    train = tmp_path / "imagenet32_2021" / "Imagenet32_train_npz"
    write_npz(train / "train_data_batch_1.npz", images[:10])
    write_npz(train / "train_data_batch_2.npz", images[10:])
    write_npz(tmp_path / "imagenet32_2021" / "val_data.npz", held)
    loaded = {split: load("imagenet32", split, tmp_path, version=2021) for split in SPLITS}
    assert torch.equal(loaded["test"].images, torch.from_numpy(held))
    assert loaded["test"].version == 2021
    assert len(loaded["valid"]) == 4
    rows = [image.numpy().tobytes() for s in ("train", "valid") for image in loaded[s].images]
    assert len(set(rows)) == 20
    assert set(rows) == {image.tobytes() for image in images}
    again = load("imagenet32", "valid", tmp_path, version=2021)
    assert torch.equal(again.images, loaded["valid"].images)


def test_imagenet_of_2016_as_folders_of_images(tmp_path, shrink):
    shrink("imagenet32", 4, train=20, valid=6)
    images, held = pixels(20, (3, 32, 32)), pixels(6, (3, 32, 32), seed=1)
    write_folder(tmp_path / "imagenet32" / "train_32x32", images)
    write_folder(tmp_path / "imagenet32" / "valid_32x32", held)
    (tmp_path / "imagenet32" / ".hidden").write_bytes(b"no image")
    train, valid, test = (load("imagenet32", split, tmp_path, version=2016) for split in SPLITS)
    assert torch.equal(test.images, torch.from_numpy(held))
    rest, kept = held_out(20, 4, drawn=True)
    assert torch.equal(train.images, torch.from_numpy(images[rest]))
    assert torch.equal(valid.images, torch.from_numpy(images[kept]))


@pytest.mark.parametrize("write", [write_parquet, write_arrays])
def test_imagenet_as_parquet(tmp_path, shrink, write):
    """Encoded images as most have them on the hub, and arrays as this one has them."""
    shrink("imagenet64_2021", 2, train=10, valid=4)
    images, held = pixels(10, (3, 64, 64)), pixels(4, (3, 64, 64), seed=1)
    folder = tmp_path / "imagenet64_2021" / "data"
    write(folder / "train-00000-of-00001-e48ede52f81079ab.parquet", images)
    write(folder / "validation-00000-of-00001-75f4f66ad60a8663.parquet", held)
    assert torch.equal(
        load("imagenet64", "test", tmp_path, version=2021).images, torch.from_numpy(held)
    )
    valid = load("imagenet64", "valid", path=folder, version=2021)
    assert torch.equal(valid.images, torch.from_numpy(images[held_out(10, 2, True)[1]]))


def test_versions_are_never_mixed(tmp_path, shrink):
    shrink("imagenet32", 2, train=10, valid=5)
    shrink("imagenet32_2021", 2, train=11, valid=6)
    with pytest.raises(ValueError, match="give version=2016 or version=2021, not None"):
        load("imagenet32", "test", tmp_path)
    with pytest.raises(ValueError, match="version=2021, not 2017"):
        load("imagenet32", "test", tmp_path, version=2017)
    write_hub(tmp_path / "imagenet32_2021", "image", (3, 32, 32), 11, 6, other="validation")
    assert len(load("imagenet32", "test", tmp_path, version=2021)) == 6
    with pytest.raises(
        FileNotFoundError, match=r"2016 version of imagenet32 is not in .*valid_32"
    ):
        load("imagenet32", "test", tmp_path, version=2016)
    wrong = "is not the 2016 version of imagenet32: it has 11 train images instead of 10"
    with pytest.raises(ValueError, match=wrong):
        load("imagenet32", "test", path=tmp_path / "imagenet32_2021", version=2016)
    assert label("imagenet32", 2016) == label("imagenet32", 2016, 8) == "imagenet32"
    assert label("imagenet32", 2021, 5) == "imagenet32_2021_5bit"


def test_celeba_is_cropped(tmp_path, shrink):
    """Each pixel of the picture tells where it is."""
    shrink("celeba", 0, train=2, valid=1, test=1)
    rows, columns = np.meshgrid(np.arange(218), np.arange(178), indexing="ij")
    image = np.stack([rows, columns, rows]).astype(np.uint8)
    folder = tmp_path / "celeba" / "img_align+identity+attr"
    for split, count in (("train", 2), ("valid", 1), ("test", 1)):
        write_parquet(folder / f"{split}-00000-of-00001.parquet", [image] * count)
    data = load("celeba", "valid", tmp_path)
    assert data.shape == (3, 64, 64)
    expected = (torch.arange(64) + 0.5) * 148 / 64 - 0.5
    inner = slice(1, 63)
    found = data.images[0].float()
    assert (found[0, inner, 9] - 40 - expected[inner]).abs().max() <= 0.51
    assert (found[1, 9, inner] - 15 - expected[inner]).abs().max() <= 0.51
    five = load("celeba", "train", tmp_path, bits=5)
    assert five.levels == 32
    assert torch.equal(five.images[1], data.images[0] // 8)
    write_parquet(folder / "test-00000-of-00001.parquet", pixels(1, (3, 64, 64)))
    with pytest.raises(ValueError, match="row 0, does not fit: it is 64×64, not CelebA's aligned"):
        load("celeba", "test", tmp_path)


def broken_parquet(tmp_path, shrink, value, column="img"):
    shrink("cifar10", 2, train=6, test=1)
    images = [*pixels(6, (3, 32, 32))]
    images[3] = value(images[3])
    write_parquet(tmp_path / "cifar10" / "train-00000.parquet", images, column)
    write_parquet(tmp_path / "cifar10" / "test-00000.parquet", images[:1], column)
    return tmp_path


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda image: encoded(image)[:900], "is no image that can be read: "),
        (lambda image: b"no image", "is no image that can be read: cannot identify"),
        (lambda image: image[:1], "is 1×32×32 .*, but 3×32×32 is needed"),
        (lambda image: image[:, :28], "is 3×28×32 .*, but 3×32×32 is needed"),
        (lambda image: encoded(np.concatenate([image, image[:1]])), "has transparent pixels, but"),
    ],
)
def test_a_bad_image_in_parquet(tmp_path, shrink, value, message):
    root = broken_parquet(tmp_path, shrink, value)
    with pytest.raises(ValueError, match=WHERE + message):
        load("cifar10", "train", root)
    assert len(load("cifar10", "valid", root)) == 2  # what is not wanted is not decoded


def test_bad_files(tmp_path, shrink):
    shrink("cifar10", 2, train=6, test=1)
    folder = tmp_path / "cifar10"
    images = pixels(6, (3, 32, 32))
    write_folder(folder / "train", images)
    write_folder(folder / "test", images[:1])
    file = folder / "train" / "00003.png"
    file.write_bytes(file.read_bytes()[:900])
    with pytest.raises(ValueError, match=r"train/00003\.png is no image that can be read"):
        load("cifar10", "train", tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match="is not cifar10: it has 5 train images instead of 6"):
        load("cifar10", "test", tmp_path)
    for name in ("train", "test"):
        write_npz(folder / f"{name}.npz", images[: 6 if name == "train" else 1])
    assert len(load("cifar10", "train", tmp_path)) == 4
    (folder / "train.npz").write_bytes((folder / "train.npz").read_bytes()[:9000])
    with pytest.raises(ValueError, match=r"train\.npz is no \.npz file with an array 'data'"):
        load("cifar10", "train", tmp_path)
    np.savez(folder / "train.npz", data=np.zeros((6, 3072)))
    with pytest.raises(ValueError, match=r"must be uint8, .*, not float64"):
        load("cifar10", "train", tmp_path)
    np.savez(folder / "train.npz", data=np.zeros((6, 3000), np.uint8))
    with pytest.raises(ValueError, match="3000 values are no square image"):
        load("cifar10", "train", tmp_path)
    (folder / "train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"train\.parquet is no parquet file that can be read"):
        load("cifar10", "train", tmp_path)


def test_a_parquet_file_that_breaks_off(tmp_path, shrink):
    root = broken_parquet(tmp_path, shrink, lambda image: image)
    file = root / "cifar10" / "train-00000.parquet"
    data = bytearray(file.read_bytes())
    data[4:60] = bytes(56)
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"train-00000\.parquet cannot be read beyond row 0"):
        load("cifar10", "train", root)


def test_parquet_that_datasets_did_not_write(tmp_path):
    images = pixels(10, (1, 4, 4))
    rows = [{"bytes": encoded(image), "path": "a.png"} for image in images]
    pq.write_table(pa.table({"x": rows, "id": range(10)}), tmp_path / "a.parquet")
    assert len(load("folder", "train", path=tmp_path)) == 8
    pq.write_table(pa.table({"x": rows}), tmp_path / "a.parquet", row_group_size=3)
    assert (read_images([str(tmp_path / "a.parquet")], np.arange(2, 9)) == images[2:9]).all()
    rows[7]["bytes"] = None
    pq.write_table(pa.table({"x": rows}), tmp_path / "a.parquet", row_group_size=3)
    with pytest.raises(ValueError, match="row 7, has a path but no bytes"):
        read_images([str(tmp_path / "a.parquet")], np.arange(10))
    pq.write_table(pa.table({"x": rows, "y": rows}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"must have one column of images .*, not x, y; its col"):
        load("folder", "train", path=tmp_path)
    pq.write_table(pa.table({"text": ["a"] * 20, "label": [0] * 20}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"must have one column of images .*, not none; its col"):
        load("folder", "train", path=tmp_path)


@pytest.mark.parametrize("write", [write_npz, write_parquet])
def test_a_file_of_ones_own(tmp_path, write):
    images = pixels(30, (1, 12, 12))
    file = tmp_path / f"mine.{'npz' if write is write_npz else 'parquet'}"
    write(file, images)
    data = [load("folder", split, path=file) for split in SPLITS]
    assert [len(split) for split in data] == [24, 3, 3]
    rest, test = held_out(30, 3, drawn=True)
    valid = rest[held_out(27, 3, drawn=True)[1]]
    for found, rows in zip(data[1:], (valid, test), strict=True):
        assert torch.equal(found.images, torch.from_numpy(images[rows]))
    rows = [image.numpy().tobytes() for split in data for image in split.images]
    assert set(rows) == {image.tobytes() for image in images}
    assert torch.equal(load("folder", "test", path=tmp_path).images, data[2].images)


def test_a_folder_of_ones_own(tmp_path):
    images = pixels(20, (3, 12, 16))
    write_folder(tmp_path / "train" / "class0", images[:10], "bmp")
    write_folder(tmp_path / "train" / "class1", images[10:])
    write_folder(tmp_path / "test", images[:3])
    train, valid, test = (load("folder", split, path=str(tmp_path)) for split in SPLITS)
    assert (len(train), len(valid), train.shape) == (18, 2, (3, 12, 16))
    assert torch.equal(test.images, torch.from_numpy(images[:3]))
    rows = {image.numpy().tobytes() for data in (train, valid) for image in data.images}
    assert rows == {image.tobytes() for image in images}
    write_folder(tmp_path / "val", images[:4])
    assert len(load("folder", "valid", path=tmp_path)) == 4
    assert len(load("folder", "train", path=tmp_path)) == 20
    small = load("folder", "test", path=tmp_path, size=4)
    means = torch.from_numpy(images[0][:, :, 2:14]).float().unfold(1, 3, 3).unfold(2, 3, 3)
    assert (small.images[0].float() - means.mean((3, 4))).abs().max() <= 1  # Pillow rounds twice
    with pytest.raises(ValueError, match="does not fit: it is 16×12, smaller than size 13"):
        load("folder", "test", path=tmp_path, size=13)
    with pytest.raises(ValueError, match="size must be an int of at least 1, not 0"):
        load("folder", "test", path=tmp_path, size=0)
    write_folder(tmp_path / "test" / "b", pixels(1, (3, 12, 12)))
    with pytest.raises(ValueError, match=r"is 3×12×12 .*, but 3×12×16 is needed"):
        load("folder", "test", path=tmp_path)


def test_what_ones_own_folder_lacks(tmp_path):
    with pytest.raises(ValueError, match=r"folder needs a folder .*path=FOLDER in Python"):
        load("folder", "train")
    with pytest.raises(FileNotFoundError, match="no such folder or file"):
        load("folder", "train", path=tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"holds no images \(\.parquet, \.npz, \.idx"):
        load("folder", "train", path=tmp_path)
    write_folder(tmp_path / "few", pixels(9, (1, 4, 4)))
    with pytest.raises(ValueError, match="the test split of folder is empty"):
        load("folder", "test", path=tmp_path / "few")
    write_folder(tmp_path / "some" / "train", pixels(9, (1, 4, 4)))
    with pytest.raises(ValueError, match="has train, but no test: name a folder or the files so"):
        load("folder", "test", path=tmp_path / "some")


def test_levels_of_ones_own(tmp_path):
    write_npz(tmp_path / "a.npz", pixels(20, (1, 4, 4)) % 17)
    assert load("folder", "train", path=tmp_path, levels=17).levels == 17
    with pytest.raises(ValueError, match="a pixel of 16, but 16 levels are 0 to 15"):
        load("folder", "train", path=tmp_path, levels=16)
    with pytest.raises(ValueError, match="bits must be 1 to 8, and 8 if levels is given, not 5"):
        load("folder", "train", path=tmp_path, levels=17, bits=5)
    with pytest.raises(ValueError, match="levels must be 2 to 256, not 0"):
        load("folder", "train", path=tmp_path, levels=0)
    with pytest.raises(ValueError, match=r"bits must be 1 to 8, .*, not 9"):
        load("folder", "train", path=tmp_path, bits=9)


def test_without_the_extra(tmp_path, shrink, monkeypatch):
    shrink("mnist", 5, train=20, test=6)
    write_hub(tmp_path / "mnist", "image", (1, 28, 28))

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(formats.importlib, "import_module", missing)
    assert formats.importlib is importlib
    for root in (tmp_path, None):
        with pytest.raises(ImportError, match=r'need .*: pip install "invconv\[data\]"'):
            load("mnist", "train", root)
