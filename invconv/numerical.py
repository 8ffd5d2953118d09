"""Whether what was computed is an inverse, and how far an inverse magnifies small changes."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.linalg import LinAlgError as LinAlgError  # type: ignore[attr-defined]

PROBE = 1e-6
"""The size of the change that `growth` follows, relative to the input."""

Map = Callable[[Tensor], Tensor]

TRUSTED = 1e-3
"""The relative error of a float32 round trip beyond which samples are not those of latents."""


class NumericalError(ArithmeticError):
    """Raised when a result is not finite or an inverse fails its residual check.

    Attributes:
        layer: the layer in which it was found, with its place in a flow; "" if unknown.
        residual: ‖f(x) − z‖ / ‖z‖ of an inverse x of z, of the worst image of a batch; NaN where
            x or f(x) is not finite.
        growth: error amplification, see `growth`; NaN where it was not estimated, infinity where
            there is no inverse.

    >>> import torch
    >>> from invconv import FInC, NumericalError
    >>> layer = FInC(4)
    >>> with torch.no_grad():
    ...     _ = layer.weight.fill_(4.0)
    >>> try:
    ...     layer.inverse(torch.ones(1, 4, 64, 64), check=True)
    ... except NumericalError as error:
    ...     print(error.layer)
    FInC
    """

    def __init__(
        self, what: str, layer: str = "", residual: float = math.nan, growth: float = math.nan
    ) -> None:
        super().__init__(what, layer, residual, growth)
        self.what, self.layer, self.residual, self.growth = what, layer, residual, growth

    def __str__(self) -> str:
        return f"{self.layer}: {self.what}" if self.layer else self.what


def allowed_residual(dtype: torch.dtype, tolerance: float = 0.0) -> float:
    """What ‖f(x) − z‖ / ‖z‖ of an inverse x of an image z may be: eps^(2/3), 2.4e-5 in float32.

    Or the ``tolerance`` of an inverse that is not exact, if that is larger.
    """
    return max(torch.finfo(dtype).eps ** (2 / 3), tolerance)


@torch.no_grad()
def check_inverse(
    x: Tensor,
    z: Tensor,
    forward: Map,
    float64: Callable[[], tuple[Map, Map]],
    layer: str = "",
    tolerance: float = 0.0,
) -> None:
    """Raise unless x is finite and f(x) is z in every image, up to rounding in the dtype of x.

    Args:
        x: the inverse of z.
        z: what was inverted, finite.
        forward: f.
        float64: makes f and its inverse in float64; called where the check fails, to say how far
            the inverse grows and whether float64 would help.
        layer: what f is called.
        tolerance: of an inverse that is not exact, see `allowed_residual`.

    Raises:
        NumericalError: if x is not finite, or the largest of `residuals` exceeds
            `allowed_residual`.
    """
    residual, allowed = math.nan, allowed_residual(x.dtype, tolerance)
    if bool(torch.isfinite(x).all()):
        found = residuals(forward, x, z)
        bad = len(x) - int((found <= allowed).sum())
        if not bad:
            return
        residual = found.max().item()
        what = (
            f"the inverse is not one: its relative residual is {residual:.1e}, more than "
            f"{allowed:.1e} for {x.dtype}, in {bad} of {len(x)} images"
        )
    else:
        bad = x.numel() - int(torch.isfinite(x).sum())
        what = f"the inverse overflowed: {bad} of {x.numel()} values are not finite in {x.dtype}"
    z = z.detach().double()
    exact_forward, exact_inverse = float64()
    exact = exact_inverse(z)
    error = residuals(exact_forward, exact, z).max().item() if exact.isfinite().all() else math.nan
    helps = x.dtype != torch.float64 and error <= allowed
    factor = max(growth(exact_inverse, z), growth(exact_forward, exact))
    said = f"{factor:.1e}-fold" if math.isfinite(factor) else "beyond what float64 holds"
    raise NumericalError(
        f"{what}; small changes grow {said} in it; use smaller weights (max_growth "
        "bounds those of a triangular convolution)"
        + (f", or float64, where the residual is {error:.1e}" if helps else ""),
        layer,
        residual,
        factor,
    )


@torch.no_grad()
def residuals(forward: Map, x: Tensor, z: Tensor) -> Tensor:
    """‖f(x) − z‖ / max(‖z‖, ‖z − f(0)‖) of every image, float64 (B,).

    Rounding goes with ‖z − f(0)‖ where f shifts; f(0) is asked for only where it may matter. NaN
    where x or f(x) is not finite.
    """
    found = forward(x)
    errors = relative_errors(found, z)
    if not bool((errors <= allowed_residual(x.dtype)).all()):
        shift = forward(torch.zeros_like(x[:1])).double()
        errors = torch.fmin(errors, relative_errors(found.double() - shift, z.double() - shift))
    return errors


def growth(function: Map, x: Tensor) -> float:
    """An estimate from below of how far ``function`` magnifies small changes.

    max|f(x + δ) − f(x)| / max|δ| for a small random δ; of a linear function at most its ∞-norm.
    Infinity where a result is not finite.

    Args:
        function: f, often a layer's inverse, best in float64.
        x: (B, C, H, W), where to look.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    change = torch.randn(x.shape, dtype=torch.float64, device="cpu", generator=generator).to(x)
    change *= PROBE * x.abs().max().clamp(min=1)
    found = (function(x + change) - function(x)).abs().max() / change.abs().max()
    return found.item() if found.isfinite() else math.inf


def solved(layer: str, solve: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """``solve(*arguments)`` of `torch.linalg`; NumericalError if the matrix is singular."""
    try:
        return solve(*arguments)
    except LinAlgError as error:
        raise NumericalError(
            "the matrix is singular: it has no inverse; use smaller weights, a parametrization "
            "that cannot become singular (such as Glow's PLU), or float64 if the weights are "
            "rounded to float32 or less",
            layer,
            growth=math.inf,
        ) from error


def relative_error(value: Tensor, truth: Tensor) -> float:
    """‖value − truth‖ / ‖truth‖ in float64; 0 if both vanish, infinity if the truth alone does."""
    truth = truth.detach().double()
    error = torch.linalg.vector_norm(value.detach().double() - truth).item()
    size = torch.linalg.vector_norm(truth).item()
    return 0.0 if not error else error / size if size else math.inf


def relative_errors(value: Tensor, truth: Tensor) -> Tensor:
    """‖value − truth‖ / ‖truth‖ of every image of (B, …), float64 (B,).

    A norm counts as the smallest normal number of the truth's dtype at least.
    """
    if not truth.numel():
        return truth.new_zeros(len(truth), dtype=torch.float64)
    tiny = torch.finfo(truth.dtype).tiny
    value, truth = value.detach().double().flatten(1), truth.detach().double().flatten(1)
    scale = truth.abs().amax(1, keepdim=True).clamp(min=tiny)  # squares of large numbers overflow
    errors = torch.linalg.vector_norm((value - truth) / scale, dim=1)
    return errors / torch.linalg.vector_norm(truth / scale, dim=1).clamp(min=1)
