"""Whether no other process computes on a GPU while something is timed on it."""

import os
import subprocess
import warnings

import torch


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
        listed = subprocess.check_output(command, text=True, timeout=60, stderr=quiet)
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
