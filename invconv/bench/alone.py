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
    try:
        asked = subprocess.run(
            [*command, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        warnings.warn(f"who else is on {device} cannot be told: {error}", stacklevel=2)
        return {}
    pairs = (line.split(",", 1) for line in asked.stdout.splitlines() if "," in line)
    return {int(pid): process.strip() for pid, process in pairs if pid.strip().isdigit()}


def check_alone(device: torch.device) -> None:
    """Raise Busy if another process computes on the GPU ``device``; a CPU is not checked.

    In a container with its own process numbers the driver's differ; there the only process that
    is listed counts as this one.
    """
    if device.type != "cuda":
        return
    others = gpu_processes(device)
    if os.getpid() not in others and len(others) <= 1:
        return
    others.pop(os.getpid(), None)
    if others:
        pid, name = next(iter(others.items()))
        raise Busy(
            f"nothing is timed: {len(others)} other processes compute on {device}, first {name} "
            f"({pid}); ask for a GPU of one's own (hydra.launcher.gpus_per_node=1, or "
            "launch.exclusive=true)"
        )
