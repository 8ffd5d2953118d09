"""idx files, and Fashion-MNIST from a Debian package."""

import gzip
import os
import subprocess
from dataclasses import replace

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from image_files import pixels

from invconv.__main__ import main
from invconv.data import load, sources
from invconv.data.idx import chunks, digest, shape
from invconv.data.published_sets import PUBLISHED_SETS, Debian

HEADER = bytes((0, 0, 8, 3))
PACKAGE = "usr/share/datasets/fashion-mnist"


def idx(images):
    return HEADER + np.array(images.shape, ">u4").tobytes() + images.tobytes()


def write(folder, train, test, name="{}-images-idx3-ubyte.gz"):
    folder.mkdir(parents=True, exist_ok=True)
    for split, images in (("train", train), ("t10k", test)):
        content = idx(images[:, 0])
        path = folder / name.format(split)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def images():
    return pixels(12, (1, 28, 28)), pixels(3, (1, 28, 28), seed=1)


@pytest.fixture
def small(tmp_path, monkeypatch, images):
    """Fashion-MNIST of 12 + 3 images, of which two validate; nothing is installed or cached."""
    write(tmp_path / "made", *images)
    files = {s: str(tmp_path / "made" / f"{n}-images-idx3-ubyte.gz") for s, n in SPLITS.items()}
    published = replace(
        PUBLISHED_SETS["fashion_mnist"],
        counts={"train": 12, "test": 3},
        held_out=2,
        digests={split: digest([file]) for split, file in files.items()},
        debian=Debian("dataset-fashion-mnist", PACKAGE),
    )
    monkeypatch.setattr(sources, "INSTALLED", tmp_path / "root")
    monkeypatch.setitem(PUBLISHED_SETS, "fashion_mnist", published)
    monkeypatch.setenv("INVCONV_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("INVCONV_DATA", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        huggingface_hub.HfApi, "repo_info", lambda *_, **__: (_ for _ in ()).throw(OSError("off"))
    )
    return tmp_path


SPLITS = {"train": "train", "test": "t10k"}


@pytest.mark.parametrize(
    "name",
    [
        "{}-images-idx3-ubyte.gz",
        "{}-images-idx3-ubyte",
        "{}-images.idx3-ubyte",
        "emnist-letters-{}-images-idx3-ubyte.gz",
    ],
)
def test_the_same_images_under_every_name(tmp_path, images, name):
    train, test = images
    upright = (0, 1, 3, 2) if name.startswith("emnist") else (0, 1, 2, 3)
    write(tmp_path, train, test, name.replace("t10k", "test"))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"not images")
    found = load("folder", "test", path=tmp_path)
    assert torch.equal(found.images, torch.from_numpy(test.transpose(upright).copy()))
    both = [load("folder", split, path=tmp_path) for split in ("train", "valid")]
    assert [len(one) for one in both] == [11, 1]


def test_an_uncompressed_file_is_not_counted_twice(tmp_path, images):
    for name in ("{}-images-idx3-ubyte.gz", "{}-images-idx3-ubyte"):
        write(tmp_path, *images, name)
    assert len(load("folder", "test", path=tmp_path)) == 3


def test_several_chunks(tmp_path, images):
    write(tmp_path, *images)
    file = str(tmp_path / "train-images-idx3-ubyte.gz")
    assert shape(file) == (12, 28, 28)
    pieces = list(chunks(file, 5))
    assert [len(piece) for piece in pieces] == [5, 5, 2]
    assert (np.concatenate(pieces) == images[0][:, 0]).all()


def damage(content):
    return {
        "truncated": (gzip.compress(content[:5000]), "cannot be read beyond image 0 of 12"),
        "half a gzip": (gzip.compress(content)[:3000], "cannot be read beyond image 0 of 12"),
        "too long": (gzip.compress(content + b"x"), "holds more than the 12 images it says"),
        "labels": (gzip.compress(bytes((0, 0, 8, 1)) + content[4:]), "is no idx file of images"),
        "empty": (gzip.compress(b""), "is no idx file of images"),
        "no gzip": (content, "cannot be read"),
    }


@pytest.mark.parametrize("kind", damage(b""))
def test_damaged_files_are_refused_in_one_sentence(tmp_path, images, kind):
    write(tmp_path, *images)
    broken, sentence = damage(idx(images[0][:, 0]))[kind]
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(broken)
    with pytest.raises(ValueError, match=sentence) as caught:
        load("folder", "train", path=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("small")
def test_an_installed_package_a_root_and_a_path(tmp_path, images):
    train, test = map(torch.from_numpy, images)
    for place, more in (
        (tmp_path / "root" / PACKAGE, {}),
        (tmp_path / "data" / "fashion_mnist", {"root": tmp_path / "data"}),
        (tmp_path / "here", {"path": tmp_path / "here"}),
    ):
        write(place, *images)
        found = [load("fashion_mnist", split, **more) for split in ("train", "valid", "test")]
        assert all(map(torch.equal, (one.images for one in found), (train[:10], train[10:], test)))
        assert {one.source for one in found} == {str(place)}


@pytest.mark.usefixtures("small")
def test_other_images_are_refused(tmp_path, images):
    train, test = images
    write(tmp_path / "here", train, test + 1)
    with pytest.raises(ValueError, match=r"is not the test split of fashion_mnist: the SHA-256"):
        load("fashion_mnist", "train", path=tmp_path / "here")
    write(tmp_path / "here", train[:11], test)
    with pytest.raises(ValueError, match="it has 11 train images instead of 12"):
        load("fashion_mnist", "train", path=tmp_path / "here")
    write(tmp_path / "here", train, test)
    file = tmp_path / "here" / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is damaged: "):
        load("fashion_mnist", "test", path=tmp_path / "here")


@pytest.fixture
def mirror(small, monkeypatch):
    """An apt-get that has the package, as a real .deb."""
    package = small / "package"
    (package / PACKAGE).mkdir(parents=True)
    for file in (small / "made").iterdir():
        (package / PACKAGE / file.name).write_bytes(file.read_bytes())
    (package / "DEBIAN").mkdir()
    control = "Package: dataset-fashion-mnist\nVersion: 1\nArchitecture: all\n"
    control += "Maintainer: nobody <nobody@localhost>\nDescription: none\n"
    (package / "DEBIAN" / "control").write_text(control)
    deb = small / "dataset-fashion-mnist_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(package), str(deb)], check=True)
    tools = small / "bin"
    tools.mkdir()
    script = f'#!/bin/sh\n[ "$*" = "download dataset-fashion-mnist" ] && cp {deb} .\n'
    (tools / "apt-get").write_text(script)
    (tools / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return tools


def test_the_package_is_fetched_without_root(mirror, tmp_path, images, capsys):
    assert main(["fetch", "fashion_mnist"]) == 0
    place = tmp_path / "cache" / "data" / "fashion_mnist"
    assert capsys.readouterr().out == f"{place}\n"
    assert torch.equal(load("fashion_mnist", "test").images, torch.from_numpy(images[1]))
    assert main(["fetch", "fashion_mnist", "--root", str(tmp_path / "data")]) == 0
    assert (tmp_path / "data" / "fashion_mnist" / "t10k-images-idx3-ubyte.gz").exists()
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["fashion_mnist"]


def test_where_it_is_not_to_be_had(mirror, tmp_path, capsys):
    with pytest.raises(FileNotFoundError) as caught:
        load("fashion_mnist", "test")
    said = str(caught.value)
    assert "nor in Debian's package dataset-fashion-mnist nor in the Hugging Face cache" in said
    assert "run `python -m invconv fetch fashion_mnist --root DIR`" in said
    (mirror / "apt-get").write_text(
        "#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n"
    )
    assert main(["fetch", "fashion_mnist"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "dataset-fashion-mnist cannot be fetched by apt-get (E: Unable to locate" in said
    assert "zalando-datasets/fashion_mnist cannot be fetched from the Hugging Face hub" in said
    assert not list((tmp_path / "cache" / "data").iterdir())
