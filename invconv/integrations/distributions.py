"""A layer as a transform of `torch.distributions`."""

import math
from typing import Any, Self

from torch import Tensor, nn
from torch.distributions import Transform, constraints
from torch.utils.weak import WeakTensorKeyDictionary


class LayerTransform(Transform):
    """z = f(x) on events of (C, H, W), from data to latents, as zuko's flows have it.

    `torch.distributions.TransformedDistribution` starts from latents and takes ``.inv``. Any
    number of leading dimensions is one batch for the layer. The log-determinant of a call is
    kept until it is asked for or z is gone, so that a density costs one forward pass.

    Args:
        layer: any layer that keeps the contract of `InvertibleConv`.
        cache_size: 0 or 1, as in `torch.distributions.Transform`. 1 returns what was computed for
            the same tensor before, even if a parameter has changed since.
    """

    domain = constraints.independent(constraints.real, 3)
    codomain = constraints.independent(constraints.real, 3)
    bijective = True

    def __init__(self, layer: nn.Module, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.layer: Any = layer
        self._log_dets = WeakTensorKeyDictionary()  # of each z that the caller still holds

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.layer!r})"

    def __getstate__(self) -> dict[str, Any]:
        state = {**super().__getstate__(), "_cached_x_y": (None, None)}
        del state["_log_dets"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = {**state, "_log_dets": WeakTensorKeyDictionary()}

    def with_cache(self, cache_size: int = 1) -> Self:
        """The same transform with another ``cache_size``."""
        return self if cache_size == self._cache_size else type(self)(self.layer, cache_size)

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, (…, C, H, W), and log|det dz/dx|, (…), in one pass; zuko calls it by this name."""
        z, log_det = self.layer(_as_batch(x))
        return z.reshape(x.shape), log_det.reshape(x.shape[:-3])

    def _call(self, x: Tensor) -> Tensor:
        z, log_det = self.call_and_ladj(x)
        z = z.view_as(z)  # log_det may need z itself, which it would keep alive
        self._log_dets[z] = log_det
        return z

    def _inverse(self, y: Tensor) -> Tensor:
        return self.layer.inverse(_as_batch(y)).reshape(y.shape)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log|det dy/dx|, (…), for x of (…, C, H, W) and y = f(x)."""
        log_det = self._log_dets.pop(y, None)
        return self.call_and_ladj(x)[1] if log_det is None else log_det


def _as_batch(x: Tensor) -> Tensor:
    return x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:])
