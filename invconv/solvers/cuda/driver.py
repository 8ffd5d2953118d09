"""The CUDA driver through NVIDIA's bindings: modules, functions, launches."""

import ctypes
import math
import threading
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from invconv.solvers.cuda import nvrtc
from invconv.solvers.cuda.arguments import Arguments
from invconv.solvers.cuda.plan import Chip, Options

LIBRARY = "libcuda.so.1"
_lock = threading.Lock()
_functions: dict[tuple[int, str, Options, str], Any] = {}
_modules: dict[tuple[int, str, Options], Any] = {}
WINDOW = "WINDOW_IN_SHARED"
"""The option of kernels that take all shared memory they can get; others need the first cache."""


def missing(index: int = 0) -> str:
    """Why no kernel can run on the GPU with this index; "" if it can."""
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    return nvrtc.missing() or _unknown(index)


def too_large(weight: Tensor, index: int = 0) -> str:
    """Why groups of a weight cannot be solved on a GPU; "" if they can.

    A block holds the inverse anchor of a group in shared memory, in float32 or float64.
    """
    channels, size = weight.shape[1], 8 if weight.dtype == torch.float64 else 4
    most = math.isqrt(chip(index).shared_per_block // size) - 3
    if channels <= most:
        return ""
    return f"{channels} channels per group are more than the {most} that a block of this GPU holds"


@lru_cache(maxsize=64)
def _unknown(index: int) -> str:
    """Why NVRTC compiles nothing for a GPU: it is older than all that NVRTC knows."""
    try:
        nvrtc.target(chip(index).architecture)
    except RuntimeError as error:
        return str(error)
    return ""


@lru_cache(maxsize=64)
def chip(index: int) -> Chip:
    """The GPU with this index."""
    found = torch.cuda.get_device_properties(index)
    return Chip(
        10 * found.major + found.minor,
        found.multi_processor_count,
        _attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN", index),
        _attribute("MAX_SHARED_MEMORY_PER_MULTIPROCESSOR", index),
    )


def launch(
    index: int,
    source: str,
    options: Options,
    kernel: str,
    blocks: int,
    threads: int,
    shared: int,
    arguments: Arguments,
) -> None:
    """Enqueues one kernel on the device's current stream; nothing waits, nothing is allocated."""
    if blocks >= 2**31:
        raise ValueError(f"{blocks} blocks are more than one launch can have: split the batch")
    loaded = function(index, source, options, kernel)
    addresses = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
    _check(
        _driver().cuLaunchKernel(
            loaded,
            *(blocks, 1, 1),
            *(threads, 1, 1),
            shared,
            stream(index),
            ctypes.addressof(addresses),
            0,
        )
    )


def stream(index: int) -> int:
    """The device's current stream."""
    return int(torch.cuda.current_stream(index).cuda_stream)


def synchronize() -> None:
    """Wait for the current device."""
    _check(_driver().cuCtxSynchronize())


def function(index: int, source: str, options: Options, kernel: str) -> Any:
    """A kernel of a specialization, compiled and loaded on first use."""
    key = (index, source, options, kernel)
    found = _functions.get(key)
    if found is None:
        with _lock:
            found = _functions.get(key) or _load(*key)
            _functions[key] = found
    _set_context(index)
    return found


def _load(index: int, source: str, options: Options, kernel: str) -> Any:
    """Loading may allocate, which a capture in progress allows only when it is told to."""
    driver, key = _driver(), (index, source, options)
    _set_context(index)
    relaxed = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    before = _check(driver.cuThreadExchangeStreamCaptureMode(relaxed))
    try:
        if key not in _modules:
            _modules[key] = _load_module(*key)
        loaded = _check(driver.cuModuleGetFunction(_modules[key], kernel.encode()))
        names = driver.CUfunction_attribute
        wanted = {
            names.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: chip(index).shared_per_block
        }
        if dict(options).get(WINDOW) and kernel != "fold":
            wanted[names.CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT] = 100
        for name, value in wanted.items():
            _check(driver.cuFuncSetAttribute(loaded, name, value))
    finally:
        _check(driver.cuThreadExchangeStreamCaptureMode(before))
    return loaded


def _load_module(index: int, source: str, options: Options) -> Any:
    """A specialization's module.

    Raises:
        RuntimeError: if the driver is too old for intermediate code of this NVRTC.
    """
    driver = _driver()
    code = nvrtc.machine_code(source, options, chip(index).architecture)
    status, module = driver.cuModuleLoadData(code)
    if status == driver.CUresult.CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
        raise RuntimeError(
            f"this NVIDIA driver is older than NVRTC {'.'.join(map(str, nvrtc.version()))} and "
            f"cannot load its intermediate code for {torch.cuda.get_device_name(index)}: update "
            'the driver, or use method="wavefront"'
        )
    _check((status,))
    return module


def _set_context(index: int) -> None:
    """A thread that torch has not used yet has no context: give it the device's own."""
    driver = _driver()
    if not int(_check(driver.cuCtxGetCurrent())):
        context = _check(driver.cuDevicePrimaryCtxRetain(_check(driver.cuDeviceGet(index))))
        _check(driver.cuCtxSetCurrent(context))


def _attribute(name: str, index: int) -> int:
    driver = _driver()
    attribute = getattr(driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
    return int(_check(driver.cuDeviceGetAttribute(attribute, _check(driver.cuDeviceGet(index)))))


def _driver() -> Any:
    from cuda.bindings import driver

    return driver


def _check(result: tuple[Any, ...]) -> Any:
    status, *values = result
    if int(status):
        raise RuntimeError(f"CUDA driver: {status.name}")
    return values[0] if values else None
