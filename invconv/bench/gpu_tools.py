"""What only a GPU has: graphs, launch costs, TF32."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from invconv.bench.timing import time_interleaved
from invconv.rows import Values
from invconv.solvers.compiled import extension
from invconv.solvers.cuda import published
from invconv.solvers.cuda.arguments import Arguments
from invconv.solvers.cuda.plan import Geometry


def captured(call: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Return the replay of a CUDA graph of ``call``; on a CPU, ``call`` itself."""
    if device.type != "cuda":
        return call
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph):
        result = call()

    def replay() -> object:
        graph.replay()
        return result

    return replay


def launch_costs(device: torch.device) -> Values:
    """Seconds of one launch of an empty kernel with one wait for the device.

    In the compiled loop that runs the papers' algorithms, and in one of Python, not charged to
    them.
    """
    options = Geometry(1, 1, 1, 1, 1, (1, 1), (0, 0), 0, False).options
    arguments = (device.index or 0, options, "empty", [(0, 0, 1)] * 2000, Arguments())
    loops = {"launch_and_wait_s": False, "python_launch_and_wait_s": True}
    costs: Values = {}
    for name, in_python in loops.items():
        if in_python or extension() is not None:
            loop = partial(published.launch_and_wait, *arguments, in_python)
            costs[name] = time_interleaved({name: loop}, device, 1, 5)[name].median / 2000
    return costs


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Switch TF32 on or off inside, for matrix products and convolutions."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
