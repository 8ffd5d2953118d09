"""The exponential of a skew convolution, which is orthogonal."""

from torch import Tensor

from invconv.conv import About, Variant, register
from invconv.layers.exponential import Exponential


@register("skew_exp")
class SkewExponential(Exponential):
    """The skew orthogonal convolution of Singla and Feizi (arXiv 2105.11417).

    z = exp(K*) x with K[c, d, i, j] = W[c, d, i, j] − W[d, c, k−1−i, k−1−j], so that x ↦ K*x with
    zeros around x is a skew matrix and its exponential is orthogonal: log_det is 0, ‖z‖ = ‖x‖,
    and the inverse, the series with −K, amplifies no error. Scaled, cut off and initialized as
    `ConvExponential`; the paper divides K by another bound and sums 5 or 12 terms.

    Args:
        channels: C.
        kernel_size: k, odd.
        coefficient: c, the largest spectral norm of K: the angle by which z can be turned, in
            radians. Above 0 and at most 4.

    Attributes:
        weight: W, (C, C, k, k).

    Raises:
        TypeError: if k is no integer.
        ValueError: if k is even or below 1, or c out of range.

    >>> import torch
    >>> from invconv import SkewExponential
    >>> x = torch.randn(2, 3, 8, 8)
    >>> z, log_det = SkewExponential(3)(x)
    >>> torch.allclose(z.norm(), x.norm()), log_det
    (True, tensor([0., 0.], grad_fn=<RepeatBackward0>))
    """

    assumes = "odd k, a bounded norm of K, no scale"
    about = About(
        title="Skew exponential",
        paper='Singla and Feizi, "Skew Orthogonal Convolutions", arXiv 2105.11417',
        year=2021,
        color="#9933CC",
        marker="<",
        variants={"skew_exp": Variant({"kernel_size": 3})},
    )

    def __init__(self, channels: int, kernel_size: int = 3, coefficient: float = 0.9) -> None:
        super().__init__(channels, kernel_size, coefficient)

    def _unit(self) -> Tensor:
        weight = self.weight.double()
        return self._scaled(weight - weight.flip(2, 3).transpose(0, 1))
