"""One training run on several processes, as `torchrun` starts them."""

import gc
import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from invconv.cores import cores
from invconv.files import brief

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
    """The processes as torchrun's variables tell it; one where it was not used.

    Raises ValueError where RANK and WORLD_SIZE, perhaps of another tool, say no such thing.
    """
    given = [
        os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"))
    ]
    rank, size = (int(text) if text.isdecimal() else -1 for text in given)
    alone = size == 1 or "MASTER_ADDR" in os.environ
    if not 0 <= rank < size or not alone:
        raise ValueError(
            f"the environment has RANK={given[0]} and WORLD_SIZE={given[1]}, which torchrun did "
            "not set: unset both to run one process"
        )
    return World(rank, size)


def current() -> World:
    """Return the processes of the connected process group; one where there is none."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    return World(dist.get_rank(), dist.get_world_size())


@contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Connect the processes that torchrun started, over NCCL on GPUs and gloo otherwise."""
    here = world()
    if here.size == 1:
        yield here
        return
    # The group has to be freed at the end: a thread of gloo that frees a tensor while Python shuts
    # down aborts the process. Some functions take the group that exists at their import as a
    # default, which would keep it for good; the optimizers import them.
    importlib.import_module("torch._dynamo")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield here
    finally:
        dist.destroy_process_group()
        gc.collect()  # `DistributedDataParallel` is part of a cycle and holds the group


def local_device(name: str) -> torch.device:
    """The named device, "auto" being a GPU if there is one; each process of several has its own.

    TF32 is switched off, and no more threads run than cores may be used.

    Raises ValueError if there is no such device.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if "OMP_NUM_THREADS" not in os.environ and cores() < torch.get_num_threads():
        torch.set_num_threads(cores())  # a container's quota is unknown to OpenMP
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.zeros((), device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={name} is not here: {brief(error)}") from None
    if device.type == "cuda" and world().size > 1:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return device
