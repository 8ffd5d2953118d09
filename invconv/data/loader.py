"""Batches that depend on seed and step alone, prepared ahead in a thread."""

import itertools
import queue
import threading
from collections.abc import Generator
from contextlib import nullcontext
from functools import lru_cache

import torch
from torch import Tensor

from invconv.data.augment import augment, check_affine
from invconv.data.images import ImageSet
from invconv.validation import check_count

AHEAD = 3


@lru_cache(maxsize=4)
def _permutation(size: int, seed: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    return torch.randperm(size, generator=generator)


def batch_indices(size: int, batch_size: int, seed: int, step: int) -> Tensor:
    """The indices of one batch, given by seed and step alone; every epoch is a permutation.

    Raises:
        ValueError: if ``size`` or ``batch_size`` is below 1, or ``seed`` or ``step`` below 0.
    """
    check_count(size, "size")
    check_count(batch_size, "batch_size")
    check_count(seed, "seed", 0)
    check_count(step, "step", 0)
    wanted = range(step * batch_size, (step + 1) * batch_size)
    pieces = []
    for epoch in range(wanted.start // size, (wanted.stop - 1) // size + 1):
        permutation = _permutation(size, seed, epoch)
        pieces.append(
            permutation[max(0, wanted.start - epoch * size) : wanted.stop - epoch * size]
        )
    return torch.cat(pieces)


class Loader:
    """Training batches of a data set.

    A batch is a function of seed and step (and of nothing that happened before), so that an
    interrupted training goes on with the very batches that it would have seen. The ranks of a
    distributed training get disjoint slices of one global batch, which together are the batch of
    a single process, augmented the same way.

    Args:
        data: the images.
        batch_size: images per step, of all ranks together.
        seed: of the order and of the augmentation, at least 0.
        flip, affine: see `augment`.
        device: where the batches go.
        rank, world_size: which of how many processes this is.

    Raises:
        ValueError: for values that are out of range, or a batch that the ranks cannot share.
    """

    def __init__(
        self,
        data: ImageSet,
        batch_size: int,
        seed: int,
        *,
        flip: bool = False,
        affine: float = 0.0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        check_count(batch_size, "batch_size")
        check_count(seed, "seed", 0)
        check_count(rank, "rank", 0)
        check_count(world_size, "world_size")
        if not 0 <= rank < world_size:
            raise ValueError(
                f"rank must be at least 0 and less than world_size, not {rank} of {world_size}"
            )
        if batch_size % world_size:
            raise ValueError(
                f"batch_size must be divisible by world_size, not {batch_size} by {world_size}"
            )
        check_affine(affine)
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.flip, self.affine = flip, affine
        self.device = torch.device(device)
        share = batch_size // world_size
        self.own = slice(rank * share, (rank + 1) * share)

    def batch(self, step: int) -> Tensor:
        """This rank's images of one step: uint8, (batch_size / world_size, C, H, W), on device."""
        return self._prepare(step).to(self.device)

    def stream(
        self, first_step: int = 0, ahead: int | None = None
    ) -> Generator[Tensor, None, None]:
        """The batches from ``first_step`` on, without end.

        A thread prepares them, in pinned memory if they go to a GPU, and the copy to the device
        does not wait. The thread ends when the generator is closed or no longer referenced; what
        is raised in it is raised here.

        Args:
            first_step: the step of the first batch.
            ahead: how many batches are prepared ahead, 0 for none and no thread; by default 3 for
                a GPU, and 0 for a CPU, where a thread takes more than it gives.
        """
        check_count(first_step, "first_step", 0)
        if ahead is None:
            ahead = AHEAD if self.device.type == "cuda" else 0
        if check_count(ahead, "ahead", 0):
            return self._stream_ahead(first_step, ahead)
        return (self.batch(step) for step in itertools.count(first_step))

    def _stream_ahead(self, first_step: int, ahead: int) -> Generator[Tensor, None, None]:
        ready: queue.SimpleQueue[Tensor | BaseException] = queue.SimpleQueue()
        free = threading.Semaphore(ahead)
        stop = threading.Event()
        on_gpu = self.device.type == "cuda"

        def prepare_ahead() -> None:
            try:
                # Pinning makes a context on the current GPU, which in a new thread is the first.
                with torch.cuda.device(self.device) if on_gpu else nullcontext():
                    for step in itertools.count(first_step):
                        free.acquire()
                        if stop.is_set():
                            return
                        batch = self._prepare(step)
                        ready.put(batch.pin_memory() if on_gpu else batch)
            except BaseException as error:
                ready.put(error)

        thread = threading.Thread(target=prepare_ahead, name="invconv-loader", daemon=True)
        thread.start()
        try:
            while True:
                batch = ready.get()
                free.release()
                if isinstance(batch, BaseException):
                    raise batch
                yield batch.to(self.device, non_blocking=True)
        finally:
            stop.set()
            free.release()
            if thread is not threading.current_thread():  # where a collected cycle ends
                thread.join()

    def _prepare(self, step: int) -> Tensor:
        """The batch on the host. NumPy gathers in the calling thread alone, unlike torch."""
        chosen = batch_indices(len(self.data), self.batch_size, self.seed, step)[self.own]
        images = augment(
            self.data.images.numpy()[chosen.numpy()],
            self.seed,
            step,
            flip=self.flip,
            affine=self.affine,
            first=self.own.start,
        )
        return torch.from_numpy(images)
