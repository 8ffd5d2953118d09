"""How a part of a flow is inverted on the way from latents to images, with and without a check."""

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from invconv.conv import InvertibleConv
from invconv.numerical import NumericalError, allowed_residual, residuals

Invert = Callable[..., Tensor]
"""(part, z, *latent, place) → x; the place is the part's in the flow, "level 2, layer 5"."""


def invert(part: nn.Module, z: Tensor, *latent: Tensor, place: str) -> Tensor:
    """``part.inverse(z, *latent)``."""
    return part.inverse(z, *latent)  # type: ignore[operator]


def invert_checked(part: nn.Module, z: Tensor, *latent: Tensor, place: str) -> Tensor:
    """The same, or a NumericalError that names the ``place``.

    Raises:
        NumericalError: if x is not finite or, of a part whose inverse takes ``check``, fails it.
    """
    place = f"{place} ({type(part).__name__})"
    checks = "check" in inspect.signature(part.inverse).parameters  # type: ignore[arg-type]
    options = {"check": True} if checks else {}
    try:
        x: Tensor = part.inverse(z, *latent, **options)  # type: ignore[operator]
    except NumericalError as error:
        inside = f"{place}, {error.layer}" if error.layer.startswith("part ") else place
        raise NumericalError(error.what, inside, error.residual, error.growth) from error
    bad = x.numel() - int(torch.isfinite(x).sum())
    if bad:
        what = f"{bad} of {x.numel()} values of its inverse are not finite in {x.dtype}"
        raise NumericalError(what, place)
    return x


def invert_judging(right: Tensor) -> Invert:
    """The same as `invert`, which says in ``right``, (B,), whose inverse is none.

    An image stays right if the residual of each `InvertibleConv` is at most `allowed_residual`.
    """

    def judged(part: nn.Module, z: Tensor, *latent: Tensor, place: str) -> Tensor:
        x = invert(part, z, *latent, place=place)
        if isinstance(part, InvertibleConv):
            found = residuals(lambda a: part.forward(a)[0], x, z)
            right.logical_and_(found <= allowed_residual(x.dtype))
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
