"""Anyone's bijections, one after the other."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from invconv.conv import log_det_dtype
from invconv.flows.decoding import invert, invert_checked
from invconv.numerical import Map, check_inverse
from invconv.validation import check_count, check_finite


class Sequential(nn.Module):
    """z = fₙ(…f₁(x)) of any bijections, and with a base distribution the density of x.

    A part is a module with ``forward(x) -> (z, log_det)``, log_det of shape (B,), and
    ``inverse(z) -> x``: an `invconv.InvertibleConv`, a part of a flow that does not split, a
    `Sequential`, or a module of your own. `Sequential` keeps the same contract.

    Args:
        parts: in the direction from data to latents.
        base: the distribution of one z, with ``log_prob(z)`` of shape (B,) and ``sample((n,))``,
            such as a `torch.distributions.Independent`. A base that is a module is trained with
            the parts; other ones stay on the device on which they were made.

    Raises:
        TypeError: if a part has no ``inverse``, or the base no ``log_prob`` and ``sample``.

    >>> import torch
    >>> from torch.distributions import Independent, Normal
    >>> import invconv
    >>> from invconv.flows import ActNorm, Sequential, Squeeze
    >>> base = Independent(Normal(torch.zeros(4, 6, 6), 1.0), 3)
    >>> flow = Sequential(Squeeze(), ActNorm(4), invconv.FInC(4), base=base)
    >>> x = torch.randn(2, 1, 12, 12)
    >>> z, log_det = flow(x)
    >>> z.shape, log_det.shape, flow.inverse(z).allclose(x, atol=1e-5)
    (torch.Size([2, 4, 6, 6]), torch.Size([2]), True)
    >>> flow.initialize(x)  # the scale of ActNorm
    >>> flow.log_prob(x).shape, flow.sample(3).shape
    (torch.Size([2]), torch.Size([3, 1, 12, 12]))
    """

    def __init__(self, *parts: nn.Module, base: Any = None) -> None:
        super().__init__()
        for place, part in enumerate(parts):
            if not isinstance(part, nn.Module) or not callable(getattr(part, "inverse", None)):
                raise TypeError(
                    f"part {place} must be a torch.nn.Module with an inverse(z), not {part!r:.80}"
                )
        if base is not None and not (hasattr(base, "log_prob") and hasattr(base, "sample")):
            raise TypeError(
                "base must be a distribution with log_prob(z) and sample((n,)), such as "
                f"torch.distributions.Independent, not {base!r:.80}"
            )
        self.parts, self.base = nn.ModuleList(parts), base

    @property
    def exact(self) -> bool:
        """Whether `inverse` is exact up to rounding: if that of every part is."""
        return all(bool(getattr(part, "exact", True)) for part in self.parts)

    @property
    def constant_log_det(self) -> bool:
        """Whether log_det depends on the shape of x alone: if every part says so."""
        return all(bool(getattr(part, "constant_log_det", False)) for part in self.parts)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data to latent: z and log|det dz/dx| of shape (B,), the sum over the parts.

        Raises:
            TypeError: if a part does not return (z, log_det), as those do not that split.
        """
        return self._forward(x, initialize=False)

    def _forward(self, x: Tensor, initialize: bool) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(x.shape[0], dtype=log_det_dtype(x))
        for place, part in enumerate(self.parts):
            if initialize and hasattr(part, "initialize"):
                part.initialize(x)  # type: ignore[operator]
            result = part(x)
            if not isinstance(result, tuple) or len(result) != 2:
                given = f"{len(result)} values" if isinstance(result, tuple) else type(result)
                raise TypeError(
                    f"part {place} ({type(part).__name__}) must return (z, log_det), not {given}; "
                    "a flow whose parts split is a LevelFlow"
                )
            x, change = result
            log_det = log_det + change
        return x if self.parts else x.clone(), log_det

    def inverse(self, z: Tensor, *, check: bool = False) -> Tensor:
        """Latent to data: x with f(x) = z.

        Args:
            z: as `forward` returns it.
            check: whether to look at values, as `InvertibleConv.inverse` does.

        Raises:
            NumericalError: under ``check``, of the first part on the way whose result is not
                finite or fails its residual check, with the part's place in its ``layer``; or of
                all parts together, if only their x fails.
            ValueError: under ``check``, if z is not finite.
        """
        if check:
            check_finite(z)
        one, x = invert_checked if check else invert, z if self.parts else z.clone()
        for place, part in reversed(list(enumerate(self.parts))):
            x = one(part, x, place=f"part {place}")
        if check:
            check_inverse(x, z, lambda a: self.forward(a)[0], self._in_float64, "Sequential")
        return x

    def _in_float64(self) -> tuple[Map, Map]:
        twin = copy.deepcopy(self).double()
        return lambda x: twin.forward(x)[0], twin.inverse

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, (B,): log p(z) under the base plus log_det.

        Raises:
            ValueError: if there is no base, or it does not give one number per image.
        """
        z, log_det = self.forward(x)
        log_prob = self._known_base().log_prob(z)
        if log_prob.shape != log_det.shape:
            raise ValueError(
                f"log_prob of the base must have shape {tuple(log_det.shape)}, one number per "
                f"image, not {tuple(log_prob.shape)}: wrap it as torch.distributions."
                f"Independent(base, {z.ndim - 1})"
            )
        return log_prob + log_det

    @torch.no_grad()
    def sample(self, n: int, *, check: bool = False) -> Tensor:
        """Draw n images: the inverse of n draws of the base.

        Args:
            n: how many.
            check: as in `inverse`.

        Raises:
            ValueError: if there is no base, or n is no integer of at least 0.
        """
        return self.inverse(self._known_base().sample((check_count(n, "n", 0),)), check=check)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Data-dependent initialization of every part that has one, in the order of the data."""
        self._forward(x, initialize=True)

    def _known_base(self) -> Any:
        if self.base is None:
            raise ValueError("log_prob and sample need a base: Sequential(..., base=distribution)")
        return self.base

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.parts)

    def __getitem__(self, index: int) -> nn.Module:
        return self.parts[index]
