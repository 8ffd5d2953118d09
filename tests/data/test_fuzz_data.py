"""Image files that are damaged or hostile: their images, or one sentence with the file's name."""

import io
import zipfile

import numpy as np
import pytest
import torch
from fuzz import Evil, damaged, one_sentence, untouched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import encoded, pixels, write_arrays, write_npz, write_parquet

from invconv.data import SPLITS, load

SHAPE = (3, 8, 8)
WRITERS = {"parquet": write_parquet, "arrays.parquet": write_arrays, "npz": write_npz}
PICTURES = ("png", "jpeg", "webp", "bmp")
FUNCTION = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file of each format, as bytes."""
    folder = tmp_path_factory.mktemp("whole")
    images = pixels(12, SHAPE)
    for name, write in WRITERS.items():
        write(folder / f"it.{name}", images)
    found = {name: (folder / f"it.{name}").read_bytes() for name in WRITERS}
    return found | {kind: encoded(images[0], kind) for kind in PICTURES}


def read_or_refused(path, *names):
    """Every split of the images at ``path``; they are read, or refused in one sentence."""
    with untouched(path if path.is_dir() else path.parent):
        for split in SPLITS:
            try:
                images = load("folder", split, path=path).images
            except (ValueError, FileNotFoundError) as error:
                assert one_sentence(error), error
                assert any(name in str(error) for name in [str(path), *names]), error
            else:
                assert images.dtype == torch.uint8 and images.ndim == 4


@pytest.mark.parametrize("name", WRITERS)
@FUNCTION
@given(data=st.data())
def test_damaged_files(whole, tmp_path, name, data):
    path = tmp_path / f"it.{name}"
    path.write_bytes(data.draw(damaged(whole[name])))
    read_or_refused(path)


def test_a_file_with_fewer_rows_than_it_says_is_refused(whole, tmp_path):
    """One flipped bit makes the first page one of another kind, which pyarrow passes over."""
    content = bytearray(whole["arrays.parquet"])
    assert content[4:6] == b"\x15\x04"
    content[5] ^= 2
    (tmp_path / "it.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"it\.parquet is damaged: it says 12 rows and has 0$"):
        load("folder", "train", path=tmp_path / "it.parquet")


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@FUNCTION
@given(data=st.data())
def test_damaged_pictures(whole, tmp_path, kind, data):
    for i in range(10):
        (tmp_path / f"{i}.{kind}").write_bytes(whole[kind])
    (tmp_path / f"{data.draw(st.integers(0, 9))}.{kind}").write_bytes(
        data.draw(damaged(whole[kind]))
    )
    read_or_refused(tmp_path)


@pytest.mark.parametrize("shape", [(10**12, 192), (12, 10**12), (10**30, 3), (0, 0), (-1, 192)])
@pytest.mark.parametrize("dtype", ["|u1", "|O", "<f8"])
@pytest.mark.parametrize("fortran", [False, True])
def test_a_header_that_promises_more_than_there_is(tmp_path, shape, dtype, fortran):
    header = io.BytesIO()
    facts = {"descr": dtype, "fortran_order": fortran, "shape": shape}
    np.lib.format.write_array_header_1_0(header, facts)
    with zipfile.ZipFile(tmp_path / "it.npz", "w") as archive:
        archive.writestr("data.npy", header.getvalue() + bytes(12 * 192))
    for split in SPLITS:
        with pytest.raises(ValueError, match=r"it\.npz") as refused:
            load("folder", split, path=tmp_path / "it.npz")
        assert one_sentence(refused.value)


def test_a_hostile_array_is_not_unpickled(tmp_path):
    evil = tmp_path / "evil"
    np.savez(tmp_path / "it.npz", data=np.array([Evil(evil)] * 12, dtype=object))
    with pytest.raises(ValueError, match="must be uint8"):
        load("folder", "train", path=tmp_path / "it.npz")
    assert not evil.exists()


def test_a_picture_that_unpacks_to_gigabytes_is_refused(tmp_path):
    """A PNG of 60,000×60,000 gray pixels says so in its header alone."""
    content = bytearray(encoded(pixels(1, (1, 8, 8))[0]))
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    (tmp_path / "0.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"0\.png is no image that can be read"):
        load("folder", "train", path=tmp_path)
