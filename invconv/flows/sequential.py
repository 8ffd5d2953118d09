"""Anyone's bijections, one after the other."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from invconv.adapted import as_bijection, as_given
from invconv.bijection import Bijection, log_det_dtype
from invconv.flows.decoding import invert_checked
from invconv.validation import check_count


class Sequential(Bijection):
    """z = fₙ(…f₁(x)) of any bijections, and with a base distribution the density of x.

    A part is an `invconv.Bijection`, such as a convolution or another `Sequential`, or a module
    of your own with ``forward(x) -> (z, log_det)``, log_det of shape (B,), and
    ``inverse(z) -> x``. `Sequential` is a `Bijection` itself.

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
        if base is not None and not (hasattr(base, "log_prob") and hasattr(base, "sample")):
            raise TypeError(
                "base must be a distribution with log_prob(z) and sample((n,)), such as "
                f"torch.distributions.Independent, not {base!r:.80}"
            )
        bijections = [as_bijection(part, f"part {i}") for i, part in enumerate(parts)]
        self.parts, self.base = nn.ModuleList(bijections), base
        self.exact = all(part.exact for part in bijections)
        self.constant_log_det = all(part.constant_log_det for part in bijections)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data to latent: z and log|det dz/dx| of shape (B,), the sum over the parts.

        Raises:
            TypeError: if a part does not return (z, log_det), as those do not that split.
        """
        return self._forward(x, initialize=False)

    def _forward(self, x: Tensor, initialize: bool) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(x.shape[0], dtype=log_det_dtype(x))
        for part in self._bijections:
            if initialize:
                part.initialize(x)
            x, change = part(x)
            log_det = log_det + change
        return x if self.parts else x.clone(), log_det

    def _inverse(self, z: Tensor) -> Tensor:
        x = z if self.parts else z.clone()
        for part in reversed(self._bijections):
            x = part.inverse(x)
        return x

    def check_inverse(self, x: Tensor, z: Tensor) -> None:
        """What ``check`` asks of `inverse`: of every part, then of all of them together.

        Raises:
            NumericalError: of the first part on the way whose result is not finite or fails its
                residual check, with the part's place in its ``layer``; or of all parts together,
                if only their x fails.
            ValueError: if z or a parameter is not finite.
        """
        y = z
        for place, part in reversed(list(enumerate(self._bijections))):
            y = invert_checked(part, y, f"part {place}")
        super().check_inverse(x, z)

    def check_input(self, x: Tensor, name: str = "x") -> None:
        """Leave that to the parts: anyone's need not be made for images."""

    def chained(self) -> list[Bijection]:
        """Those of its parts."""
        return [one for part in self._bijections for one in part.chained()]

    @property
    def _bijections(self) -> list[Bijection]:
        return cast(list[Bijection], list(self.parts))

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
        return map(as_given, self._bijections)

    def __getitem__(self, index: int) -> nn.Module:
        return as_given(self._bijections[index])
