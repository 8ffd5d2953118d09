"""Forward time (FT) and sampling time (ST) of a whole flow."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from invconv.bench.counting import outermost_convolutions
from invconv.bench.memory import keep_freed_memory, peak_extra_bytes
from invconv.bench.timing import row_values, spread, time_interleaved
from invconv.flows import LevelFlow
from invconv.numerical import TRUSTED, relative_error
from invconv.rows import Incorrect, Values
from invconv.solvers import METHODS

EXACT = 1e-6
"""The largest error in float64 of the round trip, or of that of every part alone."""
VERIFIED = 32
"""How many of the timed images the round trip is verified on."""
FEW = 4
"""The same for the papers' algorithms, which may be a hundred times slower."""


def verify_round_trip(flow: LevelFlow, images: Tensor) -> Values:
    """Verify decode(encode(y)) = y for dequantized ``images`` by ‖decode(encode(y)) − y‖ / ‖y‖.

    An exact inverse may still lose digits: the inverse of a k×k convolution amplifies errors
    along the image, and in a deep flow the losses of all layers multiply. So where the error
    exceeds 1e-3, the same weights have to round-trip in float64, and where that is not enough,
    every part of the flow alone, on the input that it has there. A wrong inverse fails in every
    precision.

    Returns:
        The errors that were needed, all relative: round_trip_error, round_trip_error_float64,
        part_round_trip_error. One that is not finite is replaced by round_trip_overflows.

    Raises:
        Incorrect: if the last of them is not finite or exceeds 1e-6.
    """
    errors = {"round_trip_error": _round_trip_error(flow, images)}
    if errors["round_trip_error"] <= TRUSTED:
        return {**errors}
    exact = copy.deepcopy(flow).double()
    last = errors["round_trip_error_float64"] = _round_trip_error(exact, images)
    if not last <= EXACT:
        last = errors["part_round_trip_error"] = _round_trip_error(exact, images, alone=True)
    if not last <= EXACT:
        lost = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
        raise Incorrect(
            f"the flow does not invert: relative errors {lost}; allowed are {TRUSTED:.0e}, or "
            f"in float64 {EXACT:.0e}, of the whole flow or of every part alone"
        )
    finite: Values = {name: error for name, error in errors.items() if math.isfinite(error)}
    return finite if len(finite) == len(errors) else finite | {"round_trip_overflows": True}


@torch.no_grad()
def _round_trip_error(flow: LevelFlow, images: Tensor, alone: bool = False) -> float:
    """Of the flow, or the largest one of its parts ``alone``: NaN if one is."""
    generator = torch.Generator(images.device).manual_seed(0)
    y = flow.dequantization(images, next(flow.parameters()).dtype, generator)[0]
    if not alone:
        return relative_error(flow.decode(flow.encode(y)[0]), y)
    errors = []
    for part in (part for level in flow.levels for part in level.children()):
        x = y
        y, *latent, _ = part(x)
        errors.append(relative_error(part.inverse(y, *latent), x))  # type: ignore[operator]
    return torch.tensor(errors).max().item()


def _choosing(flow: nn.Module) -> list[Any]:
    """Every part of a convolution that can choose its inverse."""
    convs = (conv for conv in outermost_convolutions(flow) if hasattr(conv, "inverse_method"))
    return [part for conv in convs for part in conv.modules() if hasattr(part, "inverse_method")]


def use_method(flow: nn.Module, method: str) -> bool:
    """Let ``method``, or "published" ones, invert every convolution of ``flow`` with a choice.

    Returns:
        Whether there is such a convolution. Nothing is changed, and the answer is False, where
        the published method cannot run here.
    """
    parts, device = _choosing(flow), next(flow.parameters()).device
    named = METHODS.keys() & {getattr(part, "published", None) for part in parts}
    if method == "published" and any(METHODS[name].missing(device) for name in named):
        return False
    for part in parts:
        part.inverse_method = method
    return bool(parts)


@contextmanager
def published_inverses(flow: nn.Module) -> Iterator[bool]:
    """Invert by the papers' algorithms inside; False where there is none that can run here."""
    before = [(part, part.inverse_method) for part in _choosing(flow)]
    try:
        yield use_method(flow, "published")
    finally:
        for part, method in before:
            part.inverse_method = method


def verify_published(flow: LevelFlow, images: Tensor) -> Values:
    """The papers' algorithms' published_round_trip on a few images, where it is finite."""
    with published_inverses(flow) as known:
        errors = verify_round_trip(flow, images[:FEW]) if known else {}
    error = errors.get("round_trip_error")
    return {} if error is None else {"published_round_trip": error}


def time_flow(
    flow: LevelFlow,
    images: Tensor,
    warmup: int = 2,
    repeats: int = 20,
    training: bool = True,
    published: int = 0,
) -> Values:
    """Verify the round trip on up to 32 images, then time the flow on all of them.

    A forward pass is `LevelFlow.log_prob` of ``images`` without gradients, a sampling pass draws
    as many images; both run in eval mode. Their block holds the forward pass twice (A/A), and
    sampling by the paper's algorithm where one can run here. A training step, forward and
    backward of the same batch in training mode, has its own block; the gradients of the step
    before are dropped outside the clock.

    Args:
        flow: it is in eval mode afterwards.
        images: (B, C, H, W), integers.
        published: repeats of sampling by the paper's algorithm. Fewer than ``repeats``, for a
            slow one, have a block of their own.

    Returns:
        What was timed and verified; train_step_extra_bytes, the step's peak memory above what is
        held anyway; samples_not_finite in the last sampling pass by ours; on a GPU
        peak_memory_bytes, of all but a slow paper's algorithm.
    """
    device, n = images.device, len(images)
    flow.eval()
    values: Values = {"memory_kept": keep_freed_memory(device)}
    values |= verify_round_trip(flow, images[:VERIFIED])

    def step() -> None:
        flow.log_prob(images).sum().backward()

    def forget(_: str = "") -> None:
        flow.zero_grad(set_to_none=True)

    def sample() -> None:
        values["samples_not_finite"] = n - len(flow.sample(n, only_finite=True))

    by_paper: dict[str, Callable[[], object]] = {}
    with published_inverses(flow) as known:
        if published and known:
            by_paper["st_published"] = partial(flow.sample, n, only_finite=True)
    if by_paper:
        values |= verify_published(flow, images)
    chosen = ExitStack()

    def choose(name: str) -> None:
        chosen.close()
        if name in by_paper:
            chosen.enter_context(published_inverses(flow))

    forward = partial(torch.no_grad()(flow.log_prob), images)
    slow = by_paper if published < repeats else {}
    calls: dict[str, Callable[[], object]] = {"ft": forward, "st": sample, "again": forward}
    calls |= {} if slow else by_paper
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = time_interleaved(calls, device, warmup, repeats, choose)
    chosen.close()
    if training:
        flow.train()
        times |= time_interleaved({"train_step": step}, device, warmup, repeats, forget)
        forget()
    if device.type == "cuda":
        values["peak_memory_bytes"] = torch.cuda.max_memory_allocated(device)
    if training:
        values["train_step_extra_bytes"] = peak_extra_bytes(step, device)
        forget()
        flow.eval()
    if slow:
        times |= time_interleaved(slow, device, min(1, warmup), published, choose)
        chosen.close()
    values["aa_spread"] = spread(times["ft"], times.pop("again"))
    return values | row_values(times) | {"timed_images": n, "repeats": repeats}
