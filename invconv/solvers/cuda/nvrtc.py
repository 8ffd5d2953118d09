"""Kernel text to machine code by NVRTC, without a toolkit or a driver, kept on disk."""

import fcntl
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from invconv.files import cache_folder, write_atomically
from invconv.solvers.cuda.plan import Options

_BEFORE = {
    "wavefront": ("common", "fold", "push"),
    "streaming": ("common", "fold", "push"),
    "convolution": ("common",),
    "diagonal_channel": ("common",),
}
_FLAGS = ("--std=c++17", "--ptxas-options=-v", "--diag-suppress=177")


def source(name: str) -> str:
    """The text of a kernel, what it builds on in front."""
    folder = Path(__file__).parent
    if not (folder / "common.cuh").exists():  # an editable install: the package is not copied
        folder = Path(__file__).parents[3] / "kernels" / "cuda"
    return "".join(
        (folder / f"{part}.cuh").read_text(encoding="utf-8") for part in (*_BEFORE[name], name)
    )


@lru_cache(maxsize=1)
def missing() -> str:
    """Why nothing can be compiled; "" if it can."""
    try:
        version()
    except (ImportError, RuntimeError, OSError) as error:
        return (
            f"NVRTC was not found ({type(error).__name__}: {error}); it comes with torch's CUDA "
            "builds: pip install 'invconv[cuda]'"
        )
    return ""


@lru_cache(maxsize=1)
def version() -> tuple[int, int]:
    """NVRTC's version."""
    found: tuple[int, int] = _check(_nvrtc().nvrtcVersion())
    return found


def target(architecture: int) -> str:
    """Machine code where NVRTC knows the chip, otherwise the newest intermediate code for it.

    Raises:
        RuntimeError: if the chip is older than all that NVRTC knows.
    """
    known = list(_check(_nvrtc().nvrtcGetSupportedArchs()))
    if architecture in known:
        return f"sm_{architecture}"
    older = [other for other in known if other < architecture]
    if not older:
        raise RuntimeError(
            f"NVRTC {'.'.join(map(str, version()))} compiles for sm_{min(known)} and newer, not "
            f'for sm_{architecture}: install an older one, or use method="wavefront"'
        )
    return f"compute_{max(older)}"


def flags(goal: str, options: Options) -> tuple[str, ...]:
    """NVRTC's options for a target and a specialization."""
    return (f"--gpu-architecture={goal}", *_FLAGS, *(f"-D{key}={n}" for key, n in options))


def machine_code(name: str, options: Options, architecture: int) -> bytes:
    """A kernel's code for one chip, compiled at most once per cache folder.

    The file's name is a hash of everything the code depends on. A lock that dies with its holder
    keeps other processes waiting while one compiles, and files appear whole or not at all.

    Raises:
        RuntimeError: if the text does not compile (the message names the log), or the cache
            cannot be written.
    """
    text, goal = source(name), target(architecture)
    given = flags(goal, options)
    identity = "\0".join((text, *given, *map(str, version())))
    try:
        folder, digest = cache_folder(), hashlib.sha256(identity.encode()).hexdigest()
    except FileNotFoundError as error:
        raise RuntimeError(str(error)) from error
    path = folder / f"{name}-{goal}-{digest[:24]}"
    code, log = path.with_suffix(".bin"), path.with_suffix(".log")
    try:
        if code.exists():
            return code.read_bytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if code.exists():
                return code.read_bytes()
            compiled, said = compile_text(text, given, goal.startswith("sm_"))
            write_atomically((" ".join(given) + "\n" + said).encode(), log)
            if compiled is None:
                raise RuntimeError(f"NVRTC cannot compile {name}.cuh for {goal}; its log: {log}")
            write_atomically(compiled, code)
            return compiled
    except OSError as error:
        raise RuntimeError(
            f"the cache of compiled kernels at {path.parent} cannot be written ({error}); "
            "name another folder in $INVCONV_CACHE"
        ) from error


def compile_text(text: str, given: tuple[str, ...], binary: bool) -> tuple[bytes | None, str]:
    """Machine code (PTX unless ``binary``), None where there are errors, and NVRTC's log."""
    nvrtc = _nvrtc()
    program = _check(nvrtc.nvrtcCreateProgram(text.encode(), b"invconv.cu", 0, [], []))
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(given), [f.encode() for f in given])
        log = bytearray(_check(nvrtc.nvrtcGetProgramLogSize(program)))
        _check(nvrtc.nvrtcGetProgramLog(program, log))
        said = log.decode(errors="replace").rstrip("\0 ")
        if int(status):
            return None, said
        kind = "CUBIN" if binary else "PTX"
        code = bytearray(_check(getattr(nvrtc, f"nvrtcGet{kind}Size")(program)))
        _check(getattr(nvrtc, f"nvrtcGet{kind}")(program, code))
        return bytes(code), said
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _nvrtc() -> Any:
    from cuda.bindings import nvrtc

    return nvrtc


def _check(result: tuple[Any, ...]) -> Any:
    status, *values = result
    if int(status):
        raise RuntimeError(f"NVRTC: {status.name}")
    return None if not values else values[0] if len(values) == 1 else tuple(values)
