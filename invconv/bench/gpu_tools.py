"""What only a GPU has: graphs, launch costs, TF32, and other processes on it."""

import os
import subprocess
import warnings
from collections.abc import Callable
from functools import partial

import torch

from invconv.bench.clock import medians
from invconv.rows import Values
from invconv.solvers.compiled import extension
from invconv.solvers.cuda import published
from invconv.solvers.cuda.arguments import Arguments
from invconv.solvers.cuda.plan import SizedProblem


def captured(
    call: Callable[[], object], device: torch.device, times: int = 1
) -> Callable[[], object]:
    """Return the replay of a CUDA graph of ``call``, ``times`` in a row; on a CPU, plain calls."""

    def repeated() -> object:
        for _ in range(times):
            result = call()
        return result

    if device.type != "cuda":
        return call if times == 1 else repeated
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph):
        result = repeated()

    def replay() -> object:
        graph.replay()
        return result

    return replay


def launch_costs(device: torch.device) -> Values:
    """Seconds of one launch of an empty kernel with one wait for the device.

    In the compiled loop that runs the papers' algorithms, and in one of Python, not charged to
    them.
    """
    options = SizedProblem(1, 1, 1, 1, 1, (1, 1), (0, 0), 0, False).options
    arguments = (device.index or 0, options, "empty", [(0, 0, 1)] * 2000, Arguments())
    loops = {"launch_and_wait_s": False, "python_launch_and_wait_s": True}
    costs: Values = {}
    for name, in_python in loops.items():
        if in_python or extension() is not None:
            loop = partial(published.launch_and_wait, *arguments, in_python)
            costs[name] = medians({name: loop}, device, 5, 1)[name] / 2000
    return costs


class Busy(RuntimeError):
    """Another process computes on the GPU, so that no time means anything."""


def gpu_processes(device: torch.device) -> dict[int, str]:
    """The processes that compute on a GPU, by number, as the driver reports them.

    None, with a warning, where the driver's tool is missing or does not answer.
    """
    name = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    command = ["nvidia-smi", f"--id={name}", "--query-compute-apps=pid,process_name"]
    command += ["--format=csv,noheader"]
    quiet = subprocess.DEVNULL
    try:
        listed = subprocess.check_output(command, timeout=60, stderr=quiet).decode(
            errors="replace"
        )
    except (OSError, subprocess.SubprocessError) as error:
        warnings.warn(f"who else is on {device} cannot be told: {error}", stacklevel=2)
        return {}
    pairs = (line.partition(",") for line in listed.splitlines())
    return {int(pid): process.strip() for pid, _, process in pairs if pid.strip().isdigit()}


def check_alone(device: torch.device) -> None:
    """Raise Busy if another process computes on the GPU ``device``; a CPU is not checked.

    In a container with its own process numbers the driver's differ; there the only process that
    is listed counts as this one.
    """
    others = gpu_processes(device) if device.type == "cuda" else {}
    unlisted = others.pop(os.getpid(), None) is None
    if len(others) > (1 if unlisted else 0):
        pid, name = next(iter(others.items()))
        raise Busy(
            f"nothing is timed: {len(others)} other processes compute on {device}, first {name} "
            f"({pid}); ask for a GPU of one's own (hydra.launcher.gpus_per_node=1, or "
            "launch.exclusive=true)"
        )
