"""A layer in the flows of nflows, and nflows' 1×1 convolution as a layer."""

import warnings

from nflows.transforms import OneByOneConvolution, Transform
from torch import Tensor, nn

from invconv.adapted import as_bijection
from invconv.cache import EvalCache
from invconv.conv import About, InvertibleConv, Variant
from invconv.integrations.default_dtype import check_default_dtype

# nflows' own calls, about which its users can do nothing
warnings.filterwarnings(
    "ignore", r"torch\.(triangular_solve|lu) is deprecated", UserWarning, r"nflows\."
)


class NflowsTransform(Transform):
    """f as nflows wants it: both directions return a log-determinant; a context is ignored.

    Args:
        layer: any layer that keeps the contract of `InvertibleConv`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = as_bijection(layer)

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, (B, C, H, W), and log|det dz/dx|, (B,)."""
        return self.layer(inputs)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x, (B, C, H, W), and log|det dx/dz|, (B,)."""
        return self.layer.inverse_and_log_det(inputs)


class NflowsOneByOne(InvertibleConv):
    """nflows' `OneByOneConvolution`, W = L·U after a fixed random permutation, with a bias.

    Args:
        channels: C.
        using_cache: whether W and W⁻¹ are kept in eval mode, nflows' own cache, which is dropped
            here whenever `invconv.cache.EvalCache` would drop it.
        identity_init: whether L·U starts as the identity.

    Attributes:
        transform: nflows' module.
    """

    solve_direction = "inverse"
    about = About(
        title="",
        paper=(
            'Durkan, Bekasov, Murray and Papamakarios, "nflows: normalizing flows in PyTorch", '
            "doi 10.5281/zenodo.4296287; the layer: arXiv 1807.03039"
        ),
        year=2020,
        variants={"nflows_1x1": Variant(swept=False)},
    )

    def __init__(
        self, channels: int, using_cache: bool = False, identity_init: bool = True
    ) -> None:
        super().__init__(channels)
        check_default_dtype("nflows")
        self.using_cache, self.identity_init = using_cache, identity_init
        self.transform = OneByOneConvolution(channels, using_cache, identity_init)
        self._cache = EvalCache()

    def _drop_what_is_old(self) -> None:
        state = tuple(self.transform.state_dict().values())
        self._cache.get("W", state, self.training, self._drop)

    def _drop(self) -> None:
        self._cache.clear()  # what is computed now may hold a graph or be recorded
        self.transform.cache.invalidate()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and nflows' log-determinant, H·W·Σ log diag U."""
        self.check_input(x)
        self._drop_what_is_old()
        return self.transform(x)

    def _inverse(self, z: Tensor) -> Tensor:
        """x, by nflows' two triangular solves, or by its cached W⁻¹."""
        self._drop_what_is_old()
        x: Tensor = self.transform.inverse(z)[0]
        return x
