"""Activation normalization."""

import warnings

import torch
from torch import Tensor, nn

from invconv.bijection import Bijection
from invconv.modes import is_plain
from invconv.validation import check_count, check_finite


class ActNorm(Bijection):
    """A scale and shift per channel: z = (x + bias)·exp(log_scale) (Glow, arXiv 1807.03039, 3.1).

    The identity until `initialize` has seen a batch; `forward` changes no state, and warns once
    where it trains before that.

    Args:
        channels: C.

    Raises:
        ValueError: if C is below 1.
    """

    constant_log_det = True

    channels: int
    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(check_count(channels, "channels"))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialized", torch.tensor(False))
        self._trained = False

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Sets scale and shift so that each channel of ``x`` gets mean 0 and variance 1.

        Does nothing if it was called before; the flag is part of the state_dict.

        Raises:
            ValueError: if there are no values, or some are not finite or too large for their
                variance to be; nothing is set then.
        """
        self.check_input(x)
        if self.initialized:
            return
        if not x.numel():
            raise ValueError(
                f"ActNorm needs values to initialize with, and x has none: shape {tuple(x.shape)}"
            )
        check_finite(x, "x")
        x = x.to(torch.promote_types(x.dtype, torch.float32))  # half has no room for squares
        variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        check_finite(variance, "the variance of x")
        self.bias.copy_(-mean)
        self.log_scale.copy_(-0.5 * torch.log(variance + 1e-6))
        self.initialized.fill_(True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and H·W·Σ log_scale, (B,)."""
        self.check_input(x)
        warn_uninitialized(self)
        z = (x + self.bias[:, None, None]) * self.log_scale.exp()[:, None, None]
        log_det = x.shape[2] * x.shape[3] * self.log_scale.sum()
        return z, log_det.repeat(x.shape[0])

    def _inverse(self, z: Tensor) -> Tensor:
        return z * (-self.log_scale).exp()[:, None, None] - self.bias[:, None, None]


def warn_uninitialized(module: nn.Module) -> None:
    """Warn, once for all of ``module``, if it trains and an `ActNorm` in it has seen no batch."""
    if (
        getattr(module, "_trained", False)
        or not (module.training and torch.is_grad_enabled())
        or not is_plain()
    ):
        return
    norms = [part for part in module.modules() if isinstance(part, ActNorm)]
    for part in [module, *norms]:
        part._trained = True  # type: ignore[assignment]
    flags = [part.initialized for part in norms]
    if any(type(flag) is Tensor and not flag.is_meta and not flag for flag in flags):
        warnings.warn(
            "training begins before ActNorm has seen a batch: call `initialize` with one first, "
            "of the flow or of each ActNorm",
            stacklevel=2,
        )
