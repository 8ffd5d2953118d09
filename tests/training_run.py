"""A small training run in a process of its own, for tests that kill it.

    python training_run.py FOLDER STEPS [MODE]

MODE: "whole"; "half-a-checkpoint", killed in the middle of writing its third checkpoint;
"requeue", a handler of SIGUSR2 that exits with code 7, as a scheduler's would.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from invconv.data import ImageSet, load
from invconv.flows import MultiScaleFlow
from invconv.training import TrainingOptions, checkpoint, evaluate, train
from invconv.training.distributed import process_group


def small(split):
    data = load("digits", split)
    return ImageSet(data.name, split, data.images[:40], data.levels)


def dies_halfway():
    save = torch.save
    count = 0

    def half(value, file):
        nonlocal count
        count += "optimizer" in value
        if count < 3:
            return save(value, file)
        file.write(b"half of it")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.torch.save = half


def gloo_threads():
    """Threads of a process group that was not freed; while Python shuts down they may abort."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


def main(folder, steps, mode="whole", accumulate="1"):
    torch.set_num_threads(1)
    torch.manual_seed(3)
    if mode == "half-a-checkpoint":
        dies_halfway()
    if mode == "requeue":
        signal.signal(signal.SIGUSR2, lambda *_: sys.exit(7))
    flow = MultiScaleFlow("finc", (1, 8, 8), levels=2, steps=1, width=4, bins=17)
    options = TrainingOptions(
        int(steps), batch_size=8, evaluate_every=10, checkpoint_every=5, accumulate=int(accumulate)
    )
    with process_group(torch.device("cpu")) as world:
        train(flow, small("train"), small("valid"), options, 0, Path(folder), False, world=world)
        bpd = evaluate(flow, small("test"), world=world)
    assert not gloo_threads()
    sys.stdout.write(f"{bpd:.17g}\n")  # at once: print writes the end of the line apart
    if world.size > 1:
        torch.save(flow.state_dict(), Path(folder) / f"rank{world.rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
