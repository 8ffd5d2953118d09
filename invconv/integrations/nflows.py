"""A layer in the flows of nflows, and nflows' 1×1 convolution as a layer."""

from nflows.transforms import OneByOneConvolution, Transform
from torch import Tensor, nn

from invconv.conv import InvertibleConv
from invconv.integrations.inverse import inverse_and_log_det
from invconv.validation import check_finite
from invconv.solvers import check_inverse


class NflowsTransform(Transform):
    """f as nflows wants it: both directions return a log-determinant; a context is ignored.

    Args:
        layer: any layer that keeps the contract of `InvertibleConv`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, (B, C, H, W), and log|det dz/dx|, (B,)."""
        return self.layer(inputs)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x, (B, C, H, W), and log|det dx/dz|, (B,)."""
        return inverse_and_log_det(self.layer, inputs)
