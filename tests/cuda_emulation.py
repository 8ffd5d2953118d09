"""CUDA launches on the CPU: the kernels behind the shim of kernels/emulation, called by ctypes."""

import contextlib
import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from functools import cache, lru_cache
from pathlib import Path
from unittest import mock

import torch

from invconv.rows.provenance import ROOT
from invconv.solvers.cuda import calls, driver
from invconv.solvers.cuda.arguments import Arguments
from invconv.solvers.cuda.plan import H100

KERNELS = ROOT / "kernels"
WARNINGS = ("-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Wno-unused-parameter")


@lru_cache(maxsize=1)
def folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="invconv-emulation-"))


@cache
def build(source, options, flags=("-O2", "-shared", "-fPIC"), kernels=KERNELS / "cuda"):
    """A library, or with -DEMULATE_WITH_THREADS a program, of one specialization."""
    assert shutil.which("g++"), "g++ compiles the emulated kernels"
    identity = repr((source, options, flags, str(kernels)))
    path = folder() / f"{source}-{hashlib.sha256(identity.encode()).hexdigest()[:24]}"
    if path.exists():  # by a process that was given this folder, see `stand_in.in_child`
        return path
    has = {"wavefront": "SOLVE", "streaming": "SOLVE", "convolution": "CONVOLVE"}.get(
        source, source.upper()
    )
    command = ["g++", "-std=c++20", "-x", "c++", *WARNINGS, *flags]
    command += [f"-D{name}={value}" for name, value in options]
    command += [f"-DHAS_{has}", f'-DKERNEL_FILE="{source}.cuh"', f"-I{kernels}"]
    command += [str(KERNELS / "emulation" / "emulate.cpp"), "-o", str(path), "-pthread"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    return path


def launch(index, source, options, kernel, blocks, threads, shared, arguments):
    """Stands in for `driver.launch`."""
    assert threads <= dict(options).get("THREADS", 1024)
    assert shared <= driver.chip(index).shared_per_block
    library = ctypes.CDLL(str(build(source, options)))
    library.emulate.argtypes = [
        ctypes.c_char_p,
        ctypes.c_longlong,
        ctypes.c_uint,
        ctypes.c_longlong,
        ctypes.POINTER(Arguments),
    ]
    status = library.emulate(kernel.encode(), blocks, threads, shared, ctypes.byref(arguments))
    assert status == 0, ("", "unknown kernel", "a barrier not reached by all threads")[status]


@contextlib.contextmanager
def emulated(chip=H100, run=launch, **forced):
    """Within it the CUDA calls run on CPU tensors, as planned for ``chip``."""
    with (
        mock.patch.object(driver, "chip", lambda index: chip),
        mock.patch.object(driver, "launch", run),
        mock.patch.object(calls, "forced", calls.Forced(**forced)),
    ):
        yield


def record(plan, tensors, problem):
    """The bytes from which the emulation's program repeats a plan on (input, weight, output)."""
    words = []
    workspace = [torch.zeros(plan.folded, dtype=working_type(tensors[0]))]
    addresses = [tensor.data_ptr() for tensor in tensors]

    def write(index, source, options, kernel, blocks, threads, shared, arguments):
        copy = Arguments.from_buffer_copy(arguments)
        for number, name in enumerate(("input", "weight", "output")):
            assert getattr(copy, name) == addresses[number]
            setattr(copy, name, number + 1)
        copy.folded = 4 if plan.folded else 0
        head = kernel.encode().ljust(32, b"\0")
        numbers = b"".join(n.to_bytes(8, "little") for n in (blocks, threads, shared))
        words.append(head + numbers + bytes(copy))

    with emulated(run=write):
        calls.execute(plan, *tensors, problem)
    buffers = [tensor.view(torch.uint8).numpy().tobytes() for tensor in (*tensors, *workspace)]
    parts = [len(buffers).to_bytes(4, "little")]
    for buffer in buffers:
        parts += [len(buffer).to_bytes(8, "little"), buffer]
    return b"".join([*parts, len(words).to_bytes(4, "little"), *words])


def working_type(x):
    return torch.float64 if x.dtype == torch.float64 else torch.float32
