"""A layer in the flows of zuko."""

from torch import Tensor, nn
from zuko.lazy import LazyTransform

from invconv.integrations.distributions import LayerTransform


class LazyLayerTransform(LazyTransform):
    """z = f(x) on events of (C, H, W), from data to latents; a context is ignored.

    (Importing zuko switches off the argument checks of `torch.distributions` for the process.)

    Args:
        layer: any layer that keeps the contract of `InvertibleConv`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, c: Tensor | None = None) -> LayerTransform:
        """The transform with the layer's present parameters."""
        return LayerTransform(self.layer)
