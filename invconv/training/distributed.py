"""One training run on several processes, as `torchrun` starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of one run.

    Attributes:
        rank: which one this is; 0 writes what there is to write.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def broadcast(self, value: T) -> T:
        """What rank 0 gives; every process calls it."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def total(self, value: Tensor) -> Tensor:
        """The sum over the processes; every process calls it."""
        if self.size > 1:
            dist.all_reduce(value)
        return value


ALONE = World()


def world() -> World:
    """The processes as torchrun's variables tell it; one where it was not used."""
    return World(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def current() -> World:
    """Return the processes of the connected process group; one where there is none."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return World(dist.get_rank(), dist.get_world_size())


@contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Connects the processes that torchrun started, over NCCL on GPUs and gloo otherwise."""
    here = world()
    if here.size == 1:
        yield here
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield here
    finally:
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """The GPU of this process, where several processes share a machine."""
    if device.type == "cuda" and world().size > 1:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return device
