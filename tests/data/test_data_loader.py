"""Batches, their augmentation, and the thread that prepares them."""

import gc
import itertools
import threading
import time
import weakref

import numpy as np
import pytest
import torch

from invconv.data import ImageSet, Loader, augment, batch_indices
from invconv.data.loader import AHEAD

SIZES = torch.Size((3, 12, 16))


def numbered(count, shape=(1, 2, 2)):
    """Every pixel of an image is the image's number."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, *shape)
    return ImageSet("numbered", "train", images.contiguous(), 256)


def noise(count, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (count, *SIZES), dtype=np.uint8)
    return ImageSet("noise", "train", torch.from_numpy(images), 256)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "invconv-loader"]


def test_batches_are_permutations():
    steps = [batch_indices(10, 4, seed=0, step=step) for step in range(5)]
    drawn = torch.cat(steps)
    assert sorted(drawn[:10].tolist()) == sorted(drawn[10:].tolist()) == list(range(10))
    assert drawn[:10].tolist() != drawn[10:].tolist()
    assert batch_indices(10, 4, seed=1, step=0).tolist() != steps[0].tolist()
    assert len(batch_indices(3, 8, seed=0, step=2)) == 8


def test_batches_are_the_ones_that_rows_were_measured_with():
    assert batch_indices(10, 4, 0, 0).tolist() == [4, 1, 7, 5]
    assert batch_indices(10, 4, 3, 7).tolist() == [3, 7, 9, 8]
    batch_indices(10, 4, 0, 0).zero_()
    assert batch_indices(10, 4, 0, 0).tolist() == [4, 1, 7, 5]


def test_a_batch_depends_on_seed_and_step_alone():
    data = numbered(10)
    loader = Loader(data, 4, seed=3)
    for step in (7, 0, 7):
        chosen = batch_indices(10, 4, 3, step)
        assert loader.batch(step)[:, 0, 0, 0].tolist() == chosen.tolist()
        assert Loader(data, 4, seed=3).batch(step).dtype == torch.uint8
    many = Loader(noise(10), 4, seed=3, flip=True, affine=0.2)
    again = Loader(noise(10), 4, seed=3, flip=True, affine=0.2)
    assert torch.equal(many.batch(9), again.batch(9))
    assert not torch.equal(many.batch(9), Loader(noise(10), 4, seed=3).batch(9))


@pytest.mark.parametrize("affine", [0.0, 0.1])
@pytest.mark.parametrize("ahead", [None, 1, 3])
def test_a_stream_goes_on_where_another_stopped(affine, ahead):
    loader = Loader(noise(20), 6, seed=1, flip=bool(affine), affine=affine)
    expected = [loader.batch(step) for step in range(9)]
    whole = list(itertools.islice(loader.stream(ahead=ahead), 9))
    half = list(itertools.islice(loader.stream(5, ahead), 4))
    for found, wanted in zip([*whole, *half], [*expected, *expected[5:]], strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("affine", [0.0, 0.1])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_ranks_share_the_batch_of_one_process(size, affine):
    data = noise(20)
    options = {"seed": 2, "flip": bool(affine), "affine": affine}
    whole = Loader(data, 8, **options)
    ranks = [Loader(data, 8, **options, rank=rank, world_size=size) for rank in range(size)]
    for step in range(4):
        parts = [loader.batch(step) for loader in ranks]
        assert {len(part) for part in parts} == {8 // size}
        assert torch.equal(torch.cat(parts), whole.batch(step))


def test_what_a_loader_refuses():
    data = numbered(10)
    with pytest.raises(ValueError, match="batch_size must be divisible by world_size, not 4 by 3"):
        Loader(data, 4, 0, world_size=3)
    with pytest.raises(ValueError, match="less than world_size, not 2 of 2"):
        Loader(data, 4, 0, rank=2, world_size=2)
    with pytest.raises(ValueError, match="batch_size must be an int of at least 1, not 0"):
        Loader(data, 0, 0)
    with pytest.raises(ValueError, match="seed must be an int of at least 0, not -1"):
        Loader(data, 4, -1)
    with pytest.raises(ValueError, match=r"affine must be at least 0 and less than 0.5, not 0.5"):
        Loader(data, 4, 0, affine=0.5)


def test_the_thread_prepares_so_many_and_no_more(monkeypatch):
    loader = Loader(numbered(10), 4, 0)
    prepared, waiting = [], threading.Event()
    prepare = loader._prepare

    def counted(step):
        prepared.append(step)
        if step == AHEAD:
            waiting.set()
        return prepare(step)

    monkeypatch.setattr(loader, "_prepare", counted)
    stream = loader.stream(ahead=AHEAD)
    next(stream)
    assert waiting.wait(10)
    time.sleep(0.05)
    assert prepared == list(range(AHEAD + 1))
    assert len(threads()) == 1
    stream.close()
    assert not threads()
    assert prepared == list(range(AHEAD + 1))
    next(loader.stream())
    assert not threads()  # on a CPU there is none


def test_the_thread_ends_with_what_uses_it():
    stream = Loader(numbered(10), 4, 0).stream(ahead=1)
    next(stream)
    assert len(threads()) == 1
    del stream
    assert not threads()
    for batch in Loader(numbered(10), 4, 0).stream(ahead=1):
        assert len(batch) == 4
        break
    assert not threads()

    class Cycle:
        pass

    cycle = Cycle()
    cycle.self, cycle.stream = cycle, Loader(numbered(10), 4, 0).stream(ahead=1)
    next(cycle.stream)
    gone = weakref.ref(cycle)
    del cycle
    gc.collect()
    assert gone() is None
    assert not threads()


def test_what_happens_in_the_thread_is_raised(monkeypatch):
    loader = Loader(numbered(10), 4, 0)
    prepare = loader._prepare

    def breaks(step):
        if step == 2:
            raise RuntimeError("the disk is gone")
        return prepare(step)

    monkeypatch.setattr(loader, "_prepare", breaks)
    stream = loader.stream(ahead=AHEAD)
    assert len(next(stream)) == len(next(stream)) == 4
    with pytest.raises(RuntimeError, match="the disk is gone"):
        next(stream)
    assert not threads()
    with pytest.raises(StopIteration):
        next(stream)


def test_flips_are_mirrored_images():
    images = noise(200).images.numpy()
    changed = augment(images, 0, 0, flip=True)
    mirrored = (changed == images[:, :, :, ::-1]).all((1, 2, 3))
    same = (changed == images).all((1, 2, 3))
    assert (mirrored ^ same).all()
    assert 70 < mirrored.sum() < 130
    assert augment(images, 0, 0) is images
    other = (augment(images, 0, 1, flip=True) == images).all((1, 2, 3))
    assert (other != same).any()
    assert (images == noise(200).images.numpy()).all()


def test_shifts_are_whole_pixels_with_the_border_repeated():
    """Every image is one of the shifts that `affine` allows, and all of them occur."""
    images = noise(600).images.numpy()
    changed = augment(images, 0, 0, affine=0.1)
    assert changed.dtype == np.uint8
    rows, columns = np.arange(SIZES[1]), np.arange(SIZES[2])
    found = np.zeros(len(images), int)
    counts = {}
    for down, right in itertools.product(range(-1, 2), range(-2, 3)):
        shifted = images[:, :, (rows - down).clip(0, SIZES[1] - 1)]
        shifted = shifted[:, :, :, (columns - right).clip(0, SIZES[2] - 1)]
        here = (changed == shifted).all((1, 2, 3))
        counts[down, right] = here.sum()
        found += here
    assert (found == 1).all()
    assert min(counts.values()) > 0
    # u is uniform in ±1.2 and rounds to 0 in 1 / 2.4 of all cases, v in ±1.6 in 1 / 3.2
    still = sum(count for (down, _), count in counts.items() if not down)
    assert abs(still / len(images) - 1 / 2.4) < 0.08
    still = sum(count for (_, right), count in counts.items() if not right)
    assert abs(still / len(images) - 1 / 3.2) < 0.08


def test_a_shift_too_small_for_a_pixel_changes_nothing():
    images = noise(50).images.numpy()
    assert (augment(images, 0, 0, affine=0.03) == images).all()


@pytest.mark.gpu
def test_batches_on_a_gpu():
    loader = Loader(noise(50), 8, 0, flip=True, device="cuda")
    for step, batch in enumerate(itertools.islice(loader.stream(), 20)):
        assert batch.device.type == "cuda"
        assert torch.equal(batch.cpu(), loader.batch(step).cpu())
