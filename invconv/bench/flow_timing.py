"""Forward time (FT) and sampling time (ST) of a whole flow."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from invconv.bench.counting import outermost_convolutions
from invconv.bench.memory import keep_freed_memory, peak_extra_bytes
from invconv.bench.timing import spread, time_interleaved
from invconv.flows import LevelFlow
from invconv.numerical import relative_error
from invconv.rows import Incorrect
from invconv.solvers import METHODS

TRUSTED = 1e-3
"""Beyond this relative error of the round trip in float32, float64 has to show why."""
EXACT = 1e-6
"""What the round trip, or that of every part alone, may lose in float64."""
PROVED = 32
"""How many of the timed images go through the round trip, twice where float64 has to."""
FEW = 4
"""How many of them go through the papers' own algorithms, which may be a hundred times slower."""


def prove_round_trip(flow: LevelFlow, images: Tensor) -> dict[str, Any]:
    """The round trip's relative errors ‖decode(encode(y)) − y‖ / ‖y‖ for dequantised ``images``.

    An exact inverse may still lose digits: the inverse of a k×k convolution can grow along the
    image, and a deep flow multiplies what its layers lose, hundreds of them more than float64
    has. So where the flow's own precision loses more than 1e-3, the same weights have to
    round-trip in float64, and where that is not enough, every part of the flow alone, on the
    input that it has there. A wrong inverse fails in every precision.

    Returns:
        round_trip_error, where it exceeds 1e-3 round_trip_error_float64, and where that exceeds
        1e-6 part_round_trip_error, the largest one of a part alone in float64. An error that is
        not finite is left out, and round_trip_overflows is there instead.

    Raises:
        Incorrect: if the last of them is not finite or exceeds 1e-6, too.
    """
    errors = {"round_trip_error": _round_trip_error(flow, images)}
    if errors["round_trip_error"] <= TRUSTED:
        return errors
    exact = copy.deepcopy(flow).double()
    errors["round_trip_error_float64"] = _round_trip_error(exact, images)
    if not errors["round_trip_error_float64"] <= EXACT:
        errors["part_round_trip_error"] = _part_round_trip_error(exact, images)
    if not list(errors.values())[-1] <= EXACT:
        found = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
        raise Incorrect(
            f"the flow does not invert: relative errors {found}; allowed are {TRUSTED:.0e}, or "
            f"in float64 {EXACT:.0e}, of the whole flow or of every part alone"
        )
    finite = {name: error for name, error in errors.items() if math.isfinite(error)}
    return finite if len(finite) == len(errors) else {**finite, "round_trip_overflows": True}


@torch.no_grad()
def _round_trip_error(flow: LevelFlow, images: Tensor) -> float:
    y = _dequantized(flow, images)
    return relative_error(flow.decode(flow.encode(y)[0]), y)


@torch.no_grad()
def _part_round_trip_error(flow: LevelFlow, images: Tensor) -> float:
    y = _dequantized(flow, images)
    errors = []
    for level in flow.levels:
        for part in level.children():
            x = y
            y, *latent, _ = part(x)
            errors.append(relative_error(part.inverse(y, *latent), x))  # type: ignore[operator]
    return torch.tensor(errors).max().item()  # NaN if one is


def _dequantized(flow: LevelFlow, images: Tensor) -> Tensor:
    generator = torch.Generator(images.device).manual_seed(0)
    return flow.dequantization(images, next(flow.parameters()).dtype, generator)[0]


def use_method(flow: nn.Module, method: str) -> bool:
    """Lets every convolution of ``flow`` whose inverse has a choice be inverted by ``method``.

    Args:
        method: "auto", "published", or what the convolutions of the flow know.

    Returns:
        Whether there was any, and the published one can run here; else nothing was changed.
    """
    parts = [
        part
        for conv in outermost_convolutions(flow)
        if hasattr(conv, "inverse_method")
        for part in conv.modules()
        if hasattr(part, "inverse_method")
    ]
    device = next(flow.parameters()).device
    named = {getattr(part, "published", None) for part in parts}
    published = [METHODS[name] for name in METHODS if name in named]
    if method == "published" and any(algorithm.missing(device) for algorithm in published):
        return False
    for part in parts:
        part.inverse_method = method  # type: ignore[assignment]
    return bool(parts)


def inverse_methods(flow: nn.Module) -> dict[nn.Module, Any]:
    """Every part of ``flow`` whose inverse has a choice, and what it is set to."""
    return {
        part: part.inverse_method for part in flow.modules() if hasattr(part, "inverse_method")
    }


def restore(methods: Mapping[nn.Module, Any]) -> None:
    """Sets what `inverse_methods` found."""
    for part, method in methods.items():
        part.inverse_method = method


@contextmanager
def published_inverses(flow: nn.Module) -> Iterator[bool]:
    """Inside, the papers' own algorithms invert; False where there is none that can run here."""
    chosen = inverse_methods(flow)
    try:
        yield use_method(flow, "published")
    finally:
        restore(chosen)


def prove_published(flow: LevelFlow, images: Tensor) -> dict[str, Any]:
    """`prove_round_trip` by the papers' own algorithms, on a few of the images.

    Returns:
        published_round_trip, the relative error, where it is finite; nothing where there is no
        such algorithm that can run here.
    """
    with published_inverses(flow) as known:
        found = prove_round_trip(flow, images[:FEW]) if known else {}
    error = found.get("round_trip_error")
    return {} if error is None else {"published_round_trip": error}


def time_flow(
    flow: LevelFlow,
    images: Tensor,
    warmup: int = 2,
    repeats: int = 20,
    training: bool = True,
    published: int = 0,
) -> dict[str, Any]:
    """Proves the round trip on up to 32 images, then times the flow on as many as are given.

    One forward pass is `LevelFlow.log_prob` of ``images`` without gradients, one sampling
    pass draws as many; both in eval mode. The forward pass stands in the block twice (A/A).
    Sampling by the published algorithm stands there, too, where the convolutions have one that
    can run here. The training step, forward and backward of the same batch in training mode, has
    its own block; the gradients of the step before are dropped outside of the clock.

    Args:
        flow: it is in eval mode afterwards.
        images: (B, C, H, W), integers.
        warmup, repeats: of each pass.
        training: whether to time a training step, too.
        published: repeats of sampling by the published algorithm; fewer than ``repeats``, for one
            that takes long, have a block of their own.

    Returns:
        Seconds: ft_s, st_s, train_step_s and st_published_s (medians) with their quartiles
        (…_q25_s, …_q75_s); aa_spread, |1 − ratio| of the two forward passes;
        train_step_extra_bytes, the step's peak memory above what is held anyway; what
        `prove_round_trip` and, for st_published_s, `prove_published` found; samples_not_finite in
        the last sampling pass by ours; memory_kept, see
        `keep_freed_memory`; on a GPU peak_memory_bytes of all that is timed, training steps
        included, and what lies in memory anyway; a slow published algorithm is left out.
    """
    device = images.device
    n = len(images)
    flow.eval()
    values: dict[str, Any] = {"memory_kept": keep_freed_memory(device)}
    values |= prove_round_trip(flow, images[:PROVED])
    finite = n

    @torch.no_grad()
    def forward() -> Tensor:
        return flow.log_prob(images)

    def step() -> None:
        flow.log_prob(images).sum().backward()

    def forget(_: str = "") -> None:
        flow.zero_grad(set_to_none=True)

    def sample() -> None:
        nonlocal finite
        finite = len(flow.sample(n, only_finite=True))

    ours = inverse_methods(flow)
    with published_inverses(flow) as known:
        theirs = inverse_methods(flow)
    own: dict[str, Callable[[], object]] = {}
    if published and known:
        values |= prove_published(flow, images)
        own["st_published"] = partial(flow.sample, n, only_finite=True)

    def choose(name: str) -> None:
        restore(theirs if name in own else ours)

    passes: dict[str, Callable[[], object]] = {"ft": forward, "st": sample, "again": forward}
    together = own if published >= repeats else {}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    timings = time_interleaved(passes | together, device, warmup, repeats, choose)
    restore(ours)
    values["samples_not_finite"] = n - finite
    if training:
        flow.train()
        timings |= time_interleaved({"train_step": step}, device, warmup, repeats, forget)
        forget()
    if device.type == "cuda":
        values["peak_memory_bytes"] = torch.cuda.max_memory_allocated(device)
    if training:
        values["train_step_extra_bytes"] = peak_extra_bytes(step, device)
        forget()
        flow.eval()
    if own and not together:
        timings |= time_interleaved(own, device, min(1, warmup), published, choose)
        restore(ours)
    again = timings.pop("again")
    for name, timing in timings.items():
        values |= timing.values(name)
    values["aa_spread"] = spread(timings["ft"], again)
    values["timed_images"] = n
    values["repeats"] = repeats
    return values
