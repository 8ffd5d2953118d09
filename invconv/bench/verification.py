"""What a whole flow has to pass before it is timed, on weights that do something."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from invconv.bench.verified import Verified, summary
from invconv.bench.volume import log_det_error
from invconv.bijection import Bijection
from invconv.flows import LevelFlow
from invconv.numerical import TRUSTED, NumericalError, relative_error
from invconv.rows import Incorrect, Values

EXACT = 1e-6
"""The largest error in float64 of a round trip, of the whole flow or of a part alone."""
SCALE, HALVINGS = 0.02, 3
"""Standard deviation of what is added to each parameter, and how often that may be halved."""
EFFECT = 1e-3
"""How much an inverse must change its input, relatively, so that verifying it says anything."""
LOG_DET = 1e-5
"""The largest error of log_det for each dimension."""


def verify_round_trip(flow: LevelFlow, images: Tensor) -> Values:
    """Verify decode(encode(y)) = y for dequantized ``images`` by ‖decode(encode(y)) − y‖ / ‖y‖.

    An exact inverse may still lose digits: the inverse of a k×k convolution amplifies errors
    along the image, and in a deep flow the losses of all layers multiply. So where the error
    exceeds 1e-3, the same weights have to round-trip in float64, and where that is not enough,
    every part of the flow alone, on the input that it has there. A wrong inverse fails in every
    precision, unless the weights make it the identity: see `verify_parts`.

    Returns:
        The errors that were needed, all relative: round_trip_error, round_trip_error_float64,
        part_round_trip_error. One that is not finite is replaced by round_trip_overflows.

    Raises:
        Incorrect: if the last of them is not finite or exceeds 1e-6; of a part whose `tolerance`
            is larger, that.
    """
    errors = {"round_trip_error": round_trip_error(flow, images)}
    if errors["round_trip_error"] <= TRUSTED:
        return {**errors}
    exact = copy.deepcopy(flow).double()
    errors["round_trip_error_float64"] = round_trip_error(exact, images)
    wrong = not errors["round_trip_error_float64"] <= EXACT
    if wrong:
        parts = part_errors(exact, images)
        wrong = not all(error <= allowed for error, allowed in parts)
        errors["part_round_trip_error"] = torch.tensor(parts).max(0).values[0].item()
    if wrong:
        lost = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
        raise Incorrect(
            f"the flow does not invert: relative errors {lost}; allowed are {TRUSTED:.0e}, or "
            f"in float64 {EXACT:.0e}, of the whole flow or of every part alone"
        )
    finite: Values = {name: error for name, error in errors.items() if math.isfinite(error)}
    return finite if len(finite) == len(errors) else finite | {"round_trip_overflows": True}


@torch.no_grad()
def round_trip_error(flow: LevelFlow, images: Tensor) -> float:
    """Return the error of the whole flow; infinity where it refuses to invert."""
    y = dequantized(flow, images)
    try:
        return relative_error(flow.decode(flow.encode(y)[0]), y)
    except NumericalError:
        return math.inf


@torch.no_grad()
def part_errors(flow: LevelFlow, images: Tensor) -> list[tuple[float, float]]:
    """Return the error of each part alone, and what it may be."""
    y, errors = dequantized(flow, images), []
    for _, part in flow.parts():
        z = part.latent(y)
        errors.append((relative_error(inverted(part, z), y), _allowed(part)))
        y = z[:, : z.shape[1] - part.leaving]
    return errors


def _allowed(part: Bijection) -> float:
    """The largest error in float64 of a part, finite."""
    return min(max(EXACT, part.tolerance), torch.finfo(torch.float64).max)


def inverted(part: Bijection, z: Tensor) -> Tensor:
    """The inverse of z; infinite where the part refuses to give one."""
    try:
        return part.inverse(z)
    except NumericalError:
        return torch.full_like(z, math.inf)


def dequantized(flow: LevelFlow, images: Tensor) -> Tensor:
    """Return the images with noise of a fixed seed, in the dtype of the flow."""
    generator = torch.Generator(images.device).manual_seed(0)
    return flow.dequantization(images, next(flow.parameters()).dtype, generator)[0]


@torch.no_grad()
def verify_parts(flow: LevelFlow, images: Tensor, log_det: bool = True) -> Values:
    """Verify every part alone, in float64 and float32, on perturbed weights, then restore them.

    An untrained coupling is the identity, and so is whatever replaces its inverse. So N(0, 0.02²)
    noise is added to each parameter, less where the inverse then loses digits in float64, and
    every part gets what the parts before it made of the images, scaled to a variance of 1.

    Args:
        flow: as it will be timed; its weights are the same afterwards.
        images: (B, C, H, W), integers.
        log_det: whether to compare log_det with that of a Jacobian by central differences, of one
            image cut to about 256 numbers, or uncut where the part is made for one size. Parts
            for one size of more than 3,072 numbers are only counted.

    Returns:
        perturbed_round_trip_error and perturbed_round_trip_error_float64, the largest ones;
        verified_scale, the smallest standard deviation of the noise; log_det_error, the largest
        one for each dimension; perturbed_log_det_omitted.

    Raises:
        Incorrect: if a part does not return its input up to 1e-6 in float64 and 1e-3 in float32,
            if its inverse does nothing, or if log_det is off by more than 1e-5 for each dimension.
    """
    generator = torch.Generator().manual_seed(0)
    y = dequantized(flow, images).double()
    found = []
    for place, part in flow.parts():
        x = y / y.std().clamp(min=1e-12) if y.numel() > 1 else y
        z, one = verify_part(part, x, generator, f"{place} ({part.label})", log_det)
        y = z[:, : z.shape[1] - part.leaving]
        found.append(one)
    return summary(found, log_det)


@torch.no_grad()
def verify_part(
    part: Bijection, x: Tensor, generator: torch.Generator, place: str, log_det: bool = True
) -> tuple[Tensor, Verified]:
    """Verify one part of a flow, or a layer, on the input x (B, C, H, W) in float64.

    Args:
        generator: of the noise on the weights.
        place: what the part is called if it fails.
        log_det: as in `verify_parts`.

    Returns:
        What the perturbed part makes of x, and what was found.

    Raises:
        Incorrect: as `verify_parts` does.
    """
    with _by_default(torch.float64):  # in which peers make what they need
        exact, scale, z, error = _perturbed(part, x, generator, place)
        off = log_det_error(exact, x[:1]) if log_det else None
    like = next(part.parameters(), None)
    single = error
    if like is not None:
        with _weights_of(exact, part):
            back = inverted(part, part.latent(x.to(like.dtype)))
            single = relative_error(back.double(), x)
        if not single <= max(TRUSTED, _allowed(part)):
            raise Incorrect(
                f"{place} alone, its weights perturbed by N(0, {scale:g}²), does not invert in "
                f"{like.dtype}: relative error {single:.1e}, allowed is {TRUSTED:.0e}"
            )
    if off is not None and not off <= LOG_DET:
        raise Incorrect(
            f"log_det of {place}, its weights perturbed by N(0, {scale:g}²), is off by "
            f"{off:.1e} for each dimension, allowed is {LOG_DET:.0e}"
        )
    return z, Verified(single, error, scale, off)


def _perturbed(
    part: Bijection, x: Tensor, generator: torch.Generator, place: str
) -> tuple[Bijection, float, Tensor, float]:
    """A part in float64 whose weights do something, with what it makes of x and its error."""
    first, error = generator.get_state(), math.inf
    for halving in range(HALVINGS + 1):
        generator.set_state(first)
        exact, scale = copy.deepcopy(part).double(), SCALE / 2**halving
        for parameter in exact.parameters():
            noise = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
            parameter.add_(scale * noise.to(parameter.device))
        exact.train().eval()  # a peer's cache sees no change of weights, but this
        z = exact.latent(x)
        back = inverted(exact, z)
        error = relative_error(back, x)
        if error <= _allowed(exact):
            if next(exact.parameters(), None) is not None:
                _check_effect(back, z, place)
            return exact, scale, z, error
    raise Incorrect(
        f"{place} alone, its weights perturbed by N(0, {scale:g}²), does not invert: relative "
        f"error {error:.1e} in float64, allowed is {EXACT:.0e}"
    )


def _check_effect(back: Tensor, z: Tensor, place: str) -> None:
    if not relative_error(back, z) > EFFECT:
        raise Incorrect(f"{place} leaves its input as it is, so that its inverse says nothing")


@contextmanager
def _by_default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _weights_of(exact: Bijection, part: Bijection) -> Iterator[None]:
    """Inside, ``part`` has the parameters of ``exact``, in its own dtype."""
    saved = [parameter.detach().clone() for parameter in part.parameters()]
    try:
        for parameter, other in zip(part.parameters(), exact.parameters(), strict=True):
            parameter.copy_(other)
        part.train().eval()
        yield
    finally:
        for parameter, before in zip(part.parameters(), saved, strict=True):
            parameter.copy_(before)
        part.train().eval()
