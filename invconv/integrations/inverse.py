"""The inverse with its log-determinant, for which other libraries ask."""

from typing import Any

from torch import Tensor


def inverse_and_log_det(layer: Any, z: Tensor) -> tuple[Tensor, Tensor]:
    """x = f⁻¹(z), (B, C, H, W), and log|det dx/dz|, (B,).

    The second is −log_det of x by a forward pass: of one image alone where log_det depends on
    the shape only, and of none where the layer has an `inverse_and_log_det` of its own.
    """
    if hasattr(layer, "inverse_and_log_det"):
        return layer.inverse_and_log_det(z)
    x = layer.inverse(z)
    if getattr(layer, "constant_log_det", False) and len(x) > 1:
        return x, -layer(x[:1])[1].repeat(len(x))
    return x, -layer(x)[1]
