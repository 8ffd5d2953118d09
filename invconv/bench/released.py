"""Code that others released, beside ours: what a file names, and whether it does what it says.

Nothing of it runs in the process that asks: it is read and verified in a child with limits.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from invconv.conv import InvertibleConv, Shape, build
from invconv.files import import_file
from invconv.numerical import TRUSTED, relative_error
from invconv.rows import Incorrect, Status, Values
from invconv.rows.status import classify, describe

Point = tuple[int, int, int]
POINTS: tuple[Point, ...] = tuple(product((12, 24, 48), (16, 32, 64), (1, 100)))
AGREE = 1e-5
"""The largest relative difference to ours on the same weights."""
EFFECT = 1e-3
"""How much a layer must change its input, relatively."""
VERIFIED = 2
"""Images that are verified, where so many are timed."""
CHILD = "from invconv.bench.released import child; child()"


class Calls(NamedTuple):
    """What `Released.build` returns."""

    forward: Callable[[Tensor], Tensor | tuple[Tensor, Tensor]]
    """Of x (B, C, n, n): z, or z and log_det (B,) or ()."""
    inverse: Callable[[Tensor], Tensor]
    """Of z (B, C, n, n): x."""


@dataclass(frozen=True)
class Released:
    """A layer that somebody else wrote, next to the one of ours that it is compared with.

    Attributes:
        name: of its rows, such as "finc-unit".
        method: the registered layer of ours, such as "finc".
        build: is given ours, in eval mode with weights, and (C, n, n); returns theirs as `Calls`
            or any pair of callables. It copies the weights of one to the other.
        repository, revision: where the code is from.
        what: what it is, and what had to be replaced so that it runs, in one sentence.
        options: of our layer.
        same: whether both are the same map, so that they are compared.
        points: (C, n, B) of what is timed: channels, image size and images.
    """

    name: str
    method: str
    build: Callable[[InvertibleConv, Shape], tuple[Callable[..., Any], Callable[..., Any]]]
    repository: str
    revision: str
    what: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    same: bool = True
    points: Sequence[Point] = POINTS


class ReleasedError(ValueError):
    """A file that names no released code; the message says why."""


@dataclass(frozen=True)
class Limits:
    """What a child may use: seconds, bytes of memory, and bytes that it prints."""

    seconds: float = 60
    memory: int = 4 << 30
    printed: int = 16 << 20


def read(path: Path) -> dict[str, Released]:
    """Return what a file names, by name. The file is run: only a child should call this.

    Raises:
        ReleasedError: if the file has no list RELEASED of `Released` with names of their own.
    """
    found = getattr(import_file(path), "RELEASED", None)
    if not isinstance(found, list | tuple) or not all(isinstance(one, Released) for one in found):
        raise ReleasedError(f"{path} has no list RELEASED of invconv.bench.Released")
    names = [one.name for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ReleasedError(f"{path} names {', '.join(sorted(twice))} more than once")
    return {one.name: one for one in found}


def pair(one: Released, point: Point) -> tuple[InvertibleConv, Calls]:
    """Build ours, as initialized from seed 0, and theirs beside it, for (C, n, B)."""
    channels, n, _ = point
    shape = (channels, n, n)
    torch.manual_seed(0)
    ours = build(one.method, shape, **one.options)
    ours.initialize(torch.randn(16, *shape))
    ours.eval()
    return ours, Calls(*one.build(ours, shape))


@torch.no_grad()
def verify(one: Released, point: Point) -> Values:
    """Verify theirs on a few images: against its input, and against ours where that is the same.

    Returns:
        round_trip_error; forward_difference, inverse_difference and log_det_difference, relative
        ones, of the same map; seconds_per_image of a first inverse.

    Raises:
        Incorrect: if an error exceeds 1e-3, a difference 1e-5, if z is x, or the input changes.
    """
    ours, theirs = pair(one, point)
    x = torch.randn(min(VERIFIED, point[-1]), *_shape(point))
    z, log_det = outputs(_unchanged(theirs.forward, x, "forward"))
    _check_shape(z, x, "forward")
    if not relative_error(z, x) > EFFECT:
        raise Incorrect("its forward leaves its input as it is, so that its inverse says nothing")
    start = time.perf_counter()
    back = _unchanged(theirs.inverse, z, "inverse")
    values: Values = {"seconds_per_image": (time.perf_counter() - start) / len(x)}
    _check_shape(back, x, "inverse")
    values["round_trip_error"] = _checked(relative_error(back, x), TRUSTED, "its round trip")
    if not one.same:
        return values
    our_z, our_log_det = ours(x)
    error = relative_error(z, our_z)
    values["forward_difference"] = _checked(error, AGREE, "its forward differs from ours, which")
    error = relative_error(theirs.inverse(our_z), ours.inverse(our_z))
    values["inverse_difference"] = _checked(error, AGREE, "its inverse differs from ours, which")
    if log_det is not None:
        off = (log_det.double() - our_log_det.double()).abs().max()
        error = (off / our_log_det.double().abs().max().clamp(min=1)).item()
        values["log_det_difference"] = _checked(error, AGREE, "its log_det differs, which")
    return values


def outputs(found: Any) -> tuple[Tensor, Tensor | None]:
    """Return z and log_det, None where their forward returns z alone."""
    z, log_det = found if isinstance(found, tuple) else (found, None)
    return z, log_det if log_det is None else torch.as_tensor(log_det)


def _unchanged(call: Callable[[Tensor], Any], x: Tensor, name: str) -> Any:
    before = x.clone()
    found = call(x)
    if not torch.equal(x, before):
        raise Incorrect(f"its {name} changes its input: let build clone it first")
    return found


def _shape(point: Point) -> Shape:
    return point[0], point[1], point[1]


def _check_shape(found: object, like: Tensor, name: str) -> None:
    if not isinstance(found, Tensor) or found.shape != like.shape:
        what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"{found!r:.60}"
        raise Incorrect(f"its {name} returns {what} of images of {tuple(like.shape)}")


def _checked(error: float, allowed: float, what: str) -> float:
    if not error <= allowed:
        raise Incorrect(f"{what} is off by {error:.1e}, allowed is {allowed:.0e}")
    return error


def listed(path: Path, limits: Limits | None = None) -> list[Released]:
    """Return what a file names, without their code (``build`` raises), read in a child.

    Raises:
        ReleasedError: if the file names nothing, cannot be read, or exceeds the limits.
    """
    status, reason, values = in_child(path, limits=limits)
    if status != Status.OK:
        raise ReleasedError(reason if reason.startswith(str(path)) else f"{path}: {reason}")
    return [
        Released(**{**one, "build": _elsewhere, "points": [tuple(p) for p in one["points"]]})
        for one in values["released"]
    ]


def _elsewhere(*_: object) -> tuple[Callable[..., Any], Callable[..., Any]]:
    raise RuntimeError("released code runs in a child alone")


def verified(
    path: Path, name: str, point: Point, limits: Limits | None = None
) -> tuple[Status, str, Values]:
    """Return the status, the reason and the values of `verify`, which a child calls."""
    return in_child(path, name, *map(str, point), limits=limits)


def in_child(path: Path, *asked: str, limits: Limits | None = None) -> tuple[Status, str, Any]:
    """Run `child` and return what it found: a status, a reason, and values.

    Whatever the code does, this returns within the limits: too much printed, memory or time, a
    crash, or an exit are reasons like any other.
    """
    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="invconv-") as folder:
        report, said = Path(folder, "report.json"), Path(folder, "printed")
        given = json.dumps([str(path), asked, str(report), asdict(limits)])
        with said.open("wb") as printed:
            run = subprocess.Popen(
                [sys.executable, "-c", CHILD, given],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = run.wait(limits.seconds)
            except subprocess.TimeoutExpired:
                return Status.TIMEOUT, f"it did not end within {limits.seconds:g} s", {}
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(run.pid, signal.SIGKILL)  # and whatever it has started
                run.wait()
        if said.stat().st_size >= limits.printed:
            return Status.ERROR, f"it printed more than {limits.printed / 1e6:.0f} MB", {}
        if report.exists():
            status, reason, values = json.loads(report.read_text(encoding="utf-8"))
            return Status(status), reason, values
    ending = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return Status.ERROR, f"it ended its process {ending}", {}


def child() -> None:
    """What the child does: write the report of what it is asked in its last argument."""
    path, asked, report, allowed = json.loads(sys.argv[-1])
    limits = Limits(**allowed)
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.printed, limits.printed))
    status, reason, values = Status.OK, "", dict[str, Any]()
    try:
        found = read(Path(path))
        if asked:
            name, *point = asked
            values = verify(found[name], tuple(map(int, point)))  # type: ignore[arg-type]
        else:
            plain = [
                {k: v for k, v in vars(one).items() if k != "build"} for one in found.values()
            ]
            values = {"released": plain}
        json.dumps(values)
    except BaseException as error:  # also what it raises to end the process
        known = error if isinstance(error, Exception) else RuntimeError(f"it raised {error!r}")
        status, reason, values = classify(known), describe(known), {}
        if isinstance(error, ReleasedError | Incorrect | FileNotFoundError):
            reason = str(error)
        if status == Status.OOM:
            reason = f"it needs more than {limits.memory / 2**30:g} GB of memory"
    Path(report).write_text(json.dumps([status, reason, values]), encoding="utf-8")
    os._exit(0)  # threads that it has left do not count
