"""Code that others released, beside ours: what a file names, and whether it does what it says.

Nothing of it runs in the process that asks: it is read and verified in a child with limits.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from invconv.bench.limited import Limits, Refused, in_child
from invconv.conv import InvertibleConv, Shape, build
from invconv.files import import_file
from invconv.numerical import TRUSTED, relative_error
from invconv.rows import Incorrect, Status, Values

Point = tuple[int, int, int]
POINTS: tuple[Point, ...] = tuple(product((12, 24, 48), (16, 32, 64), (1, 100)))
AGREE = 1e-5
"""The largest difference to ours on the same weights: relative, of log_det for each dimension."""
EFFECT = 1e-3
"""How much a layer must change its input, relatively."""
VERIFIED = 2
"""Images that are verified, where so many are timed."""
ANSWER = "invconv.bench.released:answer"


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


class ReleasedError(Refused):
    """A file that names no released code; the message says why."""


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
        round_trip_error; of the same map forward_difference and inverse_difference, relative ones,
        and log_det_difference, for each dimension; seconds_per_image of a first inverse.

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
        off = (log_det.double() - our_log_det.double()).abs().max().item()
        error = off / x[0].numel()
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
    status, reason, values = in_child(ANSWER, [str(path)], limits)
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
    """Return the status, the reason and the values of `verify`, called in a child."""
    return in_child(ANSWER, [str(path), name, *point], limits)


def answer(path: str, name: str = "", *point: int) -> dict[str, Any]:
    """What a child is asked: what `verify` finds of one layer, or everything that a file names."""
    found = read(Path(path))
    if name:
        channels, n, batch = point
        return dict(verify(found[name], (channels, n, batch)))
    every = [vars(one) for one in found.values()]
    return {"released": [{k: v for k, v in one.items() if k != "build"} for one in every]}
