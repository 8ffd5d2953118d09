"""The CUDA driver that kernels/emulation/driver.cpp stands in for, under the real bindings.

Only in a forked process (`in_child`): the library stays loaded under the driver's name.
"""

import contextlib
import ctypes
import subprocess
from types import SimpleNamespace
from unittest import mock

import cuda_emulation
import forked
import torch
from cuda_emulation import KERNELS, build

from invconv.solvers.cuda import driver, nvrtc
from invconv.solvers.cuda.arguments import Arguments

H100 = SimpleNamespace(major=9, minor=0, multi_processor_count=132)


class StandIn:
    """What the library has seen."""

    def __init__(self, library):
        self.library = library
        library.stand_in_launch.restype = ctypes.c_char_p
        library.stand_in_launches.restype = ctypes.c_long
        library.stand_in_arguments.restype = ctypes.c_long
        self.device, self.stream = 0, 0

    @property
    def launches(self):
        """Kernel, device, blocks, threads, shared memory, carve-out and stream of each launch."""
        every = range(self.library.stand_in_launches())
        words = [self.library.stand_in_launch(n).decode().split() for n in every]
        return [(name, *map(int, numbers)) for name, *numbers in words]

    @property
    def waits(self):
        return self.library.stand_in_waits()

    @property
    def loads(self):
        return self.library.stand_in_loads()

    def arguments(self, n):
        """What the kernel of launch n was given, in as many bytes as it declares."""
        size = self.library.stand_in_arguments(n, None)
        assert size == ctypes.sizeof(Arguments)
        return Arguments.from_buffer_copy(self._bytes(n, size))

    def _bytes(self, n, size):
        buffer = ctypes.create_string_buffer(size)
        self.library.stand_in_arguments(n, buffer)
        return buffer.raw

    def forget(self):
        """Forget launches, waits and loads, and every function that was loaded."""
        self.library.stand_in_forget()
        driver._functions.clear()
        driver._modules.clear()

    @contextlib.contextmanager
    def capture(self):
        """A capture of a CUDA graph is on inside."""
        self.library.stand_in_capture(1)
        try:
            yield
        finally:
            self.library.stand_in_capture(0)


@contextlib.contextmanager
def driving():
    """Within it the CUDA calls run through the bindings and the stand-in, on CPU tensors."""
    path = cuda_emulation.folder() / driver.LIBRARY
    command = ["g++", "-std=c++20", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra"]
    command += [str(KERNELS / "emulation" / "driver.cpp"), "-o", str(path), "-ldl", "-pthread"]
    command += [f"-Wl,-soname,{driver.LIBRARY}"]
    if not path.exists():
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    one = StandIn(ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL))
    from cuda.bindings import driver as bindings

    assert not int(bindings.cuInit(0)[0])

    def machine_code(source, options, architecture):
        assert architecture == 90
        return b"EMULATED:" + str(build(source, options)).encode() + b"\0"

    def current(index=None):
        return SimpleNamespace(cuda_stream=one.stream)

    with (
        mock.patch.object(nvrtc, "machine_code", machine_code),
        mock.patch.object(torch.cuda, "get_device_properties", lambda index: H100),
        mock.patch.object(torch.cuda, "current_stream", current),
    ):
        yield one


def in_child(function, *arguments):
    """Call a test's function in a forked process, which compiles nothing that others have."""
    forked.call(_in_folder, cuda_emulation.folder(), function, *arguments)


def _in_folder(folder, function, *arguments):
    with mock.patch.object(cuda_emulation, "folder", lambda: folder):
        function(*arguments)
