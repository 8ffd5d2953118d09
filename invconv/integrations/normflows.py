"""A layer in the flows of normflows, and normflows' 1×1 convolution as a layer."""

from normflows.flows import Flow, Invertible1x1Conv
from torch import Tensor, nn

from invconv.adapted import as_bijection
from invconv.conv import About, InvertibleConv, Variant
from invconv.integrations.default_dtype import check_default_dtype
from invconv.validation import no_pixels


class NormflowsFlow(Flow):
    """f as normflows wants it: its forward runs from latents to data; a context is ignored.

    Args:
        layer: any layer that keeps the contract of `InvertibleConv`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = as_bijection(layer)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x, (B, C, H, W), and log|det dx/dz|, (B,)."""
        return self.layer.inverse_and_log_det(z)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What normflows calls z is data here: latents, (B, C, H, W), and log|det|, (B,)."""
        return self.layer(z)


class Normflows1x1(InvertibleConv):
    """normflows' `Invertible1x1Conv`, a random rotation at first, in our direction.

    Its log-determinant is a scalar, which is repeated for every image here.

    Args:
        channels: C.
        use_lu: whether W is stored as P·L·U, or as it is.

    Attributes:
        flow: normflows' module, whose `inverse` is our `forward`.
    """

    about = About(
        title="",
        paper=(
            'Stimper et al., "normflows: A PyTorch Package for Normalizing Flows", '
            "doi 10.21105/joss.05361; the layer: arXiv 1807.03039"
        ),
        year=2023,
        variants={"normflows_1x1": Variant(swept=False)},
    )

    def __init__(self, channels: int, use_lu: bool = False) -> None:
        super().__init__(channels)
        check_default_dtype("normflows")
        self.use_lu = use_lu
        self.flow = Invertible1x1Conv(channels, use_lu)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and normflows' log-determinant, H·W·log|det W|."""
        self.check_input(x)
        if no_pixels(x):
            return x.clone(), x.new_zeros(len(x))
        z, log_det = self.flow.inverse(x)
        return z, log_det.repeat(x.shape[0])

    def _inverse(self, z: Tensor) -> Tensor:
        """Return x, by a convolution with W⁻¹, which is recomputed in every call."""
        return z.clone() if no_pixels(z) else self.flow(z)[0]
