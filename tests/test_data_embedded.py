"""The embedded data and their splits."""

import ast
import subprocess
import sys

import pytest
import torch
from sklearn.datasets import load_sample_images

from invconv.data import EMBEDDED, SPLITS, ImageSet, histogram_bits_per_dim, load
from invconv.data.embedded import PATCH_SIZE, STRIDE, STRIPS
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


def test_histogram_of_more_images_than_fit_one_piece():
    """The same as all pixels at once."""
    data, other = (load("patches", split) for split in ("train", "test"))
    data = ImageSet("patches", "train", data.images[:1500], 256)
    pixels = data.images.flatten(1).long()
    counts = torch.ones(3072, 256, dtype=torch.float64)
    counts.scatter_add_(1, pixels.T, torch.ones(pixels.T.shape, dtype=torch.float64))
    log_prob = (counts / counts.sum(1, keepdim=True)).log2()
    truth = -log_prob.gather(1, other.images.flatten(1).T.long()).mean().item()
    assert histogram_bits_per_dim(data, other) == pytest.approx(truth, rel=1e-12)


def test_unknown_names_and_options():
    with pytest.raises(ValueError, match="unknown data set 'mnis'; known: digits, patches, mnist"):
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
    with pytest.raises(TypeError, match=r"must be uint8, not torch.float32"):
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
    command = [sys.executable, "-c", "import sys, table1; print(*sys.modules)"]
    loaded = subprocess.check_output(command, cwd=ROOT / "reproductions", text=True).split()
    assert {"table1", "invconv.sweeps.application", "invconv.data.embedded"} <= set(loaded)
    assert any(name.startswith("invconv.report.") for name in loaded)
    assert not {"sklearn", "scipy"} & set(loaded)
