"""The inverse with its log-determinant, for which other libraries ask."""

from typing import Any

import torch
from torch import Tensor


def check_default_dtype(library: str) -> None:
    """Raise TypeError where torch's default dtype is one in which ``library`` has no layers."""
    dtype = torch.get_default_dtype()
    if torch.finfo(dtype).bits < 32:
        raise TypeError(
            f"{library} makes its 1×1 convolution in torch's default dtype, which must be float32 "
            f"or float64, not {dtype}"
        )


def inverse_and_log_det(layer: Any, z: Tensor) -> tuple[Tensor, Tensor]:
    """x = f⁻¹(z), (B, C, H, W), and log|det dx/dz|, (B,).

    The second is −log_det of x by a forward pass: of one image alone where log_det depends on
    the shape only, and of none where the layer has an `inverse_and_log_det` of its own.
    """
    if hasattr(layer, "inverse_and_log_det"):
        return layer.inverse_and_log_det(z)
    x = layer.inverse(z)
    if getattr(layer, "constant_log_det", False) and len(x) > 1:
        return x, -layer(x[:1])[1].repeat(x.shape[0])
    return x, -layer(x)[1]
