"""Layers in other libraries, and their invertible 1×1 convolutions as layers.

None of the libraries is needed by invconv; each is imported when it is first asked for. Their
convolutions are named in the entry points of this package, as anyone's can be in their own:
``invconv.build("nflows_1x1", shape)``, ``invconv.build("normflows_1x1", shape)``.

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

from invconv.integrations.distributions import LayerTransform

if TYPE_CHECKING:
    from invconv.integrations.nflows import NflowsTransform
    from invconv.integrations.normflows import NormflowsFlow
    from invconv.integrations.zuko import LazyLayerTransform

__all__ = [
    "to_distributions",
    "to_nflows",
    "to_normflows",
    "to_zuko",
]


def to_distributions(layer: nn.Module) -> LayerTransform:
    """``layer`` as a `torch.distributions.Transform` from data to latents.

    A `torch.distributions.TransformedDistribution` goes from latents to data: it takes ``.inv``.

    >>> import torch
    >>> from torch.distributions import Independent, Normal, TransformedDistribution
    >>> from invconv import FInC
    >>> from invconv.integrations import to_distributions
    >>> base = Independent(Normal(torch.zeros(4, 6, 6), 1.0), 3)
    >>> density = TransformedDistribution(base, [to_distributions(FInC(4)).inv])
    >>> density.log_prob(density.sample((2,))).shape
    torch.Size([2])
    """
    return LayerTransform(layer)


def to_zuko(layer: nn.Module) -> "LazyLayerTransform":
    """``layer`` as a `zuko.lazy.LazyTransform` from data to latents.

    Raises:
        ImportError: if zuko is not installed.

    >>> import torch
    >>> from invconv import FInC
    >>> from invconv.integrations import to_zuko
    >>> transform = to_zuko(FInC(4))()
    >>> transform(torch.randn(2, 4, 6, 6)).shape
    torch.Size([2, 4, 6, 6])
    """
    return _room("zuko").LazyLayerTransform(layer)


def to_nflows(layer: nn.Module) -> "NflowsTransform":
    """``layer`` as an `nflows.transforms.Transform` from data to latents.

    Raises:
        ImportError: if nflows is not installed.

    >>> import torch
    >>> from invconv import FInC
    >>> from invconv.integrations import to_nflows
    >>> z, log_det = to_nflows(FInC(4))(torch.randn(2, 4, 6, 6))
    >>> z.shape, log_det.shape
    (torch.Size([2, 4, 6, 6]), torch.Size([2]))
    """
    return _room("nflows").NflowsTransform(layer)


def to_normflows(layer: nn.Module) -> "NormflowsFlow":
    """``layer`` as a `normflows.flows.Flow`, whose forward runs from latents to data.

    Raises:
        ImportError: if normflows is not installed.

    >>> import torch
    >>> from invconv import FInC
    >>> from invconv.integrations import to_normflows
    >>> x, log_det = to_normflows(FInC(4))(torch.randn(2, 4, 6, 6))  # from latents to data
    >>> x.shape, log_det.shape
    (torch.Size([2, 4, 6, 6]), torch.Size([2]))
    """
    return _room("normflows").NormflowsFlow(layer)


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
