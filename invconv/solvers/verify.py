"""Whether what was computed is an inverse."""

import torch
from torch import Tensor


class InverseError(ArithmeticError):
    """An inverse was computed and is not one: it overflowed, or did not converge."""


def check_inverse(x: Tensor, again: Tensor, z: Tensor) -> None:
    """Raises unless x is finite and f(x) is z, up to the rounding of the dtype of x.

    Args:
        x: the inverse of z.
        again: f(x), preferably in float64.
        z: what was inverted, finite.

    Raises:
        InverseError: if x overflowed, or if ‖f(x) − z‖ / ‖z‖ exceeds eps^(2/3).
    """
    if not bool(torch.isfinite(x).all()):
        raise InverseError(
            "the inverse overflowed: it grows exponentially across the image for such large "
            "weights; use smaller ones, a smaller image or float64"
        )
    residual = relative_error(again, z)
    allowed = torch.finfo(x.dtype).eps ** (2 / 3)
    if not residual <= allowed:
        raise InverseError(
            f"the inverse is not one: its relative residual is {residual:.1e}, more than "
            f"{allowed:.1e} for {x.dtype}; the weights are too large for this precision"
        )


def relative_error(value: Tensor, truth: Tensor) -> float:
    """‖value − truth‖ / ‖truth‖ in float64; 0 if both vanish."""
    truth = truth.detach().double()
    error = torch.linalg.vector_norm(value.detach().double() - truth).item()
    return error / torch.linalg.vector_norm(truth).item() if error else 0.0
