"""What only a GPU has: graphs, launch costs, copies, TF32, the sanitizer."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch

from invconv.bench.timing import time_interleaved
from invconv.rows import Incorrect, Unsupported, Values
from invconv.solvers.compiled import extension
from invconv.solvers.cuda import published
from invconv.solvers.cuda.arguments import Arguments
from invconv.solvers.cuda.plan import Geometry

SANITIZED = """
import torch
from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.solvers.cuda import calls
from invconv.solvers.cuda.plan import Forced
for channels, n, anchor, forced in (
    (3, (7, 5), None, Forced()),
    (3, (7, 5), None, Forced(tile=4)),
    (5, (6, 7), "center", Forced(tile=4, rows=2)),
    (18, (5, 6), None, Forced()),
    (3, (5, 6), None, Forced(window_in_shared=False, taps_in=2)),
):
    calls.forced = forced
    weight = 0.1 * torch.randn(2 * channels, channels, 3, 3, device="cuda")
    weight += torch.eye(channels, device="cuda").repeat(2, 1)[..., None, None]
    z = torch.randn(3, 2 * channels, *n, device="cuda")
    geometry = {"anchor": anchor, "corners": ("br", "tr"), "method": "compiled"}
    solve_triangular_conv2d(z, weight, **geometry)
    triangular_conv2d(z, weight, **geometry)
torch.cuda.synchronize()
"""
"""Small odd shapes through every path of the kernels."""


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


def copy_rate(device: torch.device, size: int) -> Values:
    """Bytes per second of a copy of ``size`` bytes on the device, those read and those written."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    timing = time_interleaved({"copy": lambda: target.copy_(source)}, device, 3, 20)["copy"]
    return {"copy_bytes": 2.0 * size, "copy_bytes_per_s": 2 * size / timing.median}


def launch_costs(device: torch.device) -> Values:
    """Seconds of one launch of an empty kernel with one wait for the device.

    Returns:
        launch_and_wait_s in the compiled loop that runs the papers' algorithms, and
        python_launch_and_wait_s in a loop of Python, which is not charged to them.
    """
    index = device.index or 0
    options = Geometry(1, 1, 1, 1, 1, (1, 1), (0, 0), 0, False).options
    steps = [(0, 0, 1)] * 2000
    costs: Values = {}
    for name, in_python in (("launch_and_wait_s", False), ("python_launch_and_wait_s", True)):
        if not in_python and extension() is None:
            continue
        arguments = (index, options, "empty", steps, Arguments(), in_python)
        loop = partial(published.launch_and_wait, *arguments)
        costs[name] = time_interleaved({name: loop}, device, 1, 5)[name].median / len(steps)
    return costs


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Switch TF32 on or off inside, for matrix products and convolutions."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def sanitize(tool: str, seconds: float) -> Values:
    """Run compute-sanitizer over every path of the kernels, on small odd shapes.

    Returns:
        sanitizer, the last line of its report.

    Raises:
        Unsupported: if it is not installed.
        Incorrect: if it reports an error.
    """
    program = shutil.which("compute-sanitizer")
    if not program:
        raise Unsupported("compute-sanitizer is not installed")
    command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", SANITIZED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    report = [line for line in done.stdout.splitlines() if line.startswith("=========")]
    if done.returncode:
        raise Incorrect(f"{tool}: {' '.join(report)[:500]} {done.stderr[-300:]}")
    return {"sanitizer": f"{tool}: {report[-1].strip('= ') if report else 'no report'}"}
