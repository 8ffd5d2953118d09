"""How a part of a flow is inverted on the way from latents to images, with and without a check."""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from torch import Tensor

from invconv.bijection import Bijection
from invconv.conv import Shape
from invconv.numerical import NumericalError, allowed_residual, residuals
from invconv.validation import check_finite

Invert = Callable[[Bijection, Tensor, str], Tensor]
"""(part, z, place) → x; the place is the part's in the flow, "level 2, layer 5"."""


def check_latents(latents: Sequence[Tensor], shapes: Sequence[Shape], finite: bool) -> None:
    """Raise ValueError unless latents have these shapes and one batch size, and are ``finite``."""
    found = [tuple(latent.shape[1:]) for latent in latents]
    if found != shapes:
        raise ValueError(f"latents must have shapes (B, *{shapes}), not {found}")
    sizes = [latent.shape[0] for latent in latents]
    if any(size != sizes[0] for size in sizes):
        raise ValueError(f"latents must have one batch size, not {sizes}")
    for latent in latents if finite else ():
        check_finite(latent, "a latent")


def check_temperature(temperature: Any) -> None:
    """Raise ValueError unless it is a finite number, or tensor of one, of at least 0."""
    known = isinstance(temperature, Real | Tensor)
    if not known or not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be at least 0 and finite, not {temperature!r}")


def invert(part: Bijection, z: Tensor, place: str) -> Tensor:
    """``part.inverse(z)``."""
    return part.inverse(z)


def invert_checked(part: Bijection, z: Tensor, place: str) -> Tensor:
    """``part.inverse(z, check=True)``, or a NumericalError that names the ``place``."""
    try:
        return part.inverse(z, check=True)
    except NumericalError as error:
        place = f"{place} ({part.label})"
        inside = f"{place}, {error.layer}" if error.layer.startswith("part ") else place
        raise NumericalError(error.what, inside, error.residual, error.growth) from error


def invert_judging(right: Tensor) -> Invert:
    """The same as `invert`, which says in ``right``, (B,), whose inverse is none.

    An image stays right if the residual of each part is at most `allowed_residual`.
    """

    def judged(part: Bijection, z: Tensor, place: str) -> Tensor:
        x = part.inverse(z)
        found = residuals(lambda a: part.forward(a)[0], x, z)
        right.logical_and_(found <= allowed_residual(x.dtype, part.tolerance))
        return x

    return judged


def refusal(
    finite: Tensor,
    right: Tensor,
    decode: Callable[[Sequence[Tensor]], Tensor],
    latents: Sequence[Tensor],
) -> NumericalError:
    """The error that says how many samples are wrong, and where that began.

    Args:
        finite, right: which samples are, (N,).
        decode: the way from latents to samples, with a check.
        latents: of the samples that are wrong.
    """
    counts = {
        "not finite": int((~finite).sum()),
        "finite, but no inverse of their latents": int((finite & ~right).sum()),
    }
    what = " and ".join(
        f"{count} of {len(right)} samples are {kind}" for kind, count in counts.items() if count
    )
    help = "; sample(..., only_finite=True) leaves them out"
    try:
        decode(latents)
    except NumericalError as error:
        return NumericalError(f"{what}: {error}{help}", "", error.residual, error.growth)
    except ValueError as error:
        return NumericalError(f"{what}: {error}{help}")
    return NumericalError(
        f"{what}, though each is right when it is decoded without the others{help}"
    )
