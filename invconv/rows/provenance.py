"""Where a number comes from: machine, versions and commit."""

import hashlib
import os
import platform
import subprocess
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from invconv.cores import cores
from invconv.rows.row import RowsError, Values, check_name, now

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[2]
GENERATED = (":!results", ":!README.md")
SETTINGS = (
    *("ATEN_*", "CUBLAS_*", "CUDA_LAUNCH_BLOCKING", "CUDNN_*", "DNNL_*", "GOMP_*"),
    *("KMP_*", "LD_PRELOAD", "MALLOC_*", "MKL_*", "NVIDIA_TF32_OVERRIDE", "OMP_*", "ONEDNN_*"),
    *("PYTORCH_*", "TORCHDYNAMO_*", "TORCHINDUCTOR_*", "TORCH_*"),
)
"""Variables with which the libraries below compute otherwise, or at another speed."""
OTHERS = ("OMP_WAIT_POLICY", "O*_NUM_THREADS", "M*_NUM_THREADS", "*_DIR", "*_HOME", "*_PATH")
"""Those among them that sweeps set, that a row says elsewhere, or that name folders."""


def provenance(device: "torch.device") -> Values:
    """What a row says about the run that made it.

    Raises RowsError if INVCONV_MACHINE, INVCONV_COMMIT or INVCONV_ISA hold what they cannot.
    """
    import torch  # not at the top: whoever only reads rows does without

    from invconv.solvers.compiled import instruction_set

    commit, dirty = revision()
    try:
        isa = instruction_set()
    except ValueError as error:
        raise RowsError(f"INVCONV_ISA: {error}") from error
    changed: Values = {"environment": text} if (text := environment()) else {}
    return {
        "device": device_name(device),
        "machine": machine(),
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "isa": isa,
        "tf32": device.type == "cuda"
        and (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
        "commit": commit,
        "dirty": dirty,
        "date": now(),
        **changed,
    }


def device_name(device: "torch.device") -> str:
    """The GPU's name, if there is one, or the processor's with the number of usable cores."""
    if device.type == "cuda":
        import torch

        with suppress(AssertionError, RuntimeError):
            return str(torch.cuda.get_device_name(device))
        return "no CUDA device"
    return f"{processor()}, {cores()} cores"


def machine() -> str:
    """The name under which rows of one machine are merged: $INVCONV_MACHINE, or its hardware.

    Raises RowsError if the variable holds what cannot be a name on a page.
    """
    if name := os.environ.get("INVCONV_MACHINE"):
        return check_name(name, "INVCONV_MACHINE")
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    more = f" + {gpus}x {torch.cuda.get_device_name(0)}" if gpus else ""
    return device_name(torch.device("cpu")) + more


@lru_cache(maxsize=1)
def hardware() -> str:
    """Return a hash of what machines of one name may differ in, eight hexadecimal digits.

    Of the processor's model, flags, microcode and cache, its cores, the memory in GiB, and the
    hypervisor. A host's name is no part of it: in a container it is new each time.
    """
    parts = [processor(), platform.machine(), str(os.cpu_count())]
    wanted = ("cpu family", "model", "stepping", "microcode", "cache size", "flags", "Features")
    lines = _cpuinfo().partition("\n\n")[0].splitlines()
    parts += [line for line in lines if line.partition(":")[0].strip() in wanted]
    with suppress(AttributeError, OSError, ValueError):
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        parts.append(f"{pages / 2**30:.0f} GiB")
    for name in ("sys_vendor", "product_name"):
        with suppress(OSError):
            path = Path("/sys/class/dmi/id", name)
            parts.append(path.read_text(encoding="utf-8", errors="replace").strip())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


@lru_cache(maxsize=1)
def processor() -> str:
    """The processor's model name, or the numbers that stand for it where it has none."""
    lines = (line.partition(":") for line in _cpuinfo().partition("\n\n")[0].splitlines())
    about = {name.strip(): value.strip() for name, _, value in lines}
    model = about.get("model name") or about.get("cpu") or _of_mac()
    if model.lower() not in ("", "unknown"):
        return model
    numbers = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
    return " ".join([platform.machine(), *(about[name] for name in numbers if name in about)])


def _cpuinfo() -> str:
    with suppress(OSError):
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    return ""


def _of_mac() -> str:
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        quiet = subprocess.DEVNULL
        return subprocess.check_output(asked, stderr=quiet).decode(errors="replace").strip()
    return ""


def environment() -> str:
    """The variables that change how torch and its libraries compute, or how fast; often ""."""
    found = sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if any(fnmatchcase(name, pattern) for pattern in SETTINGS)
        and not any(fnmatchcase(name, pattern) for pattern in OTHERS)
    )
    return " ".join(found)


@lru_cache(maxsize=1)
def revision() -> tuple[str, bool]:
    """The commit and whether the tree differs from it, `results/` and README.md aside.

    Read once per process, so that a run that lasts hours reports the code that it loaded. Where
    there is no git, $INVCONV_COMMIT names the commit; raises RowsError if that is no name.
    """
    return _revision()[:2]


@lru_cache(maxsize=1)
def unknown_commit() -> str:
    """Why the commit is unknown, and what to do; "" where it is known."""
    return _revision()[2]


def _revision() -> tuple[str, bool, str]:
    why = f"{ROOT} is no git checkout"
    if (ROOT / ".git").exists():
        try:
            commit = _git("rev-parse", "--short=10", "HEAD")
            # your own configuration may hide new files
            asked = ("status", "--porcelain", "--untracked-files=normal", "--", ".", *GENERATED)
            return commit, bool(_git(*asked)), ""
        except OSError as error:
            why = f"git cannot be run ({error.strerror})"
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip() or f"exit code {error.returncode}"
            why = f"git refuses {ROOT} ({said.splitlines()[0]})"
    if given := os.environ.get("INVCONV_COMMIT"):
        return check_name(given, "INVCONV_COMMIT"), False, ""
    cure = "run from a checkout that git can read, or set INVCONV_COMMIT"
    return "unknown", True, f"the commit is unknown, since {why}: {cure}"


def _git(*words: str) -> str:
    """What git says of this checkout, whoever owns it and whatever GIT_DIR says of another one.

    A folder that is named is not checked for its owner; its code runs here anyway.
    """
    others = [name for name in os.environ if name.startswith("GIT_") and name != "GIT_EXEC_PATH"]
    kept = {name: value for name, value in os.environ.items() if name not in others}
    here = ("-C", str(ROOT), "--git-dir=.git", "--work-tree=.", "--no-optional-locks")
    asked = subprocess.run(["git", *here, *words], env=kept, capture_output=True, check=True)
    return asked.stdout.decode(errors="replace").strip()
