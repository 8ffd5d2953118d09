"""Layers in other libraries, and their invertible 1×1 convolutions as layers.

None of the libraries is needed by invconv; each is imported when it is first asked for.

>>> import torch
>>> from invconv import FInC
>>> from invconv.integrations import to_distributions
>>> to_latent = to_distributions(FInC(4))
>>> z = to_latent(torch.randn(5, 4, 6, 6))
>>> to_latent.inv(z).shape
torch.Size([5, 4, 6, 6])
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from torch import nn

from invconv.conv import InvertibleConv, register
from invconv.integrations.distributions import LayerTransform
from invconv.validation import check_choice

if TYPE_CHECKING:
    from invconv.integrations.nflows import NflowsTransform
    from invconv.integrations.normflows import NormflowsFlow
    from invconv.integrations.zuko import LazyLayerTransform

__all__ = [
    "PEERS",
    "register_peers",
    "to_distributions",
    "to_nflows",
    "to_normflows",
    "to_zuko",
]

PEERS = {
    "nflows_1x1": ("nflows", "NflowsOneByOne"),
    "normflows_1x1": ("normflows", "Normflows1x1"),
}
"""Name of a layer of another library → the library, and the class here that wraps it."""


def to_distributions(layer: nn.Module) -> LayerTransform:
    """``layer`` as a `torch.distributions.Transform` from data to latents.

    A `torch.distributions.TransformedDistribution` goes from latents to data: it takes ``.inv``.
    """
    return LayerTransform(layer)


def to_zuko(layer: nn.Module) -> "LazyLayerTransform":
    """``layer`` as a `zuko.lazy.LazyTransform` from data to latents.

    Raises:
        ImportError: if zuko is not installed.
    """
    return _room("zuko").LazyLayerTransform(layer)


def to_nflows(layer: nn.Module) -> "NflowsTransform":
    """``layer`` as an `nflows.transforms.Transform` from data to latents.

    Raises:
        ImportError: if nflows is not installed.
    """
    return _room("nflows").NflowsTransform(layer)


def to_normflows(layer: nn.Module) -> "NormflowsFlow":
    """``layer`` as a `normflows.flows.Flow`, whose forward runs from latents to data.

    Raises:
        ImportError: if normflows is not installed.
    """
    return _room("normflows").NormflowsFlow(layer)


def register_peers(*names: str) -> tuple[str, ...]:
    """Makes the layers of other libraries available to `invconv.build`.

    Args:
        names: which of `PEERS`; all of them if none is given.

    Returns:
        The names that were registered.

    Raises:
        ImportError: if a library is not installed.
        ValueError: for an unknown name.
    """
    for name in names:
        check_choice(name, PEERS, "peer")
    wanted = names or tuple(PEERS)
    for name in wanted:
        package, layer = PEERS[name]
        found: type[InvertibleConv] = getattr(_room(package), layer)
        register(name)(found)
    return wanted


def _room(package: str) -> ModuleType:
    """The module of this package that imports ``package``."""
    try:
        return import_module(f"invconv.integrations.{package}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != package:
            raise
        raise ImportError(
            f"this needs the package {package}, which is not installed: pip install {package}"
        ) from error
