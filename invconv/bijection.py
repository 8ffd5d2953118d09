"""The contract that every part of a flow keeps."""

import copy
import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from invconv.cache import caches
from invconv.modes import is_autocast
from invconv.numerical import Map, check_inverse
from invconv.validation import (
    check_choice,
    check_count,
    check_finite,
    check_image_tensor,
    check_images,
    lists_its_options,
)


class Bijection(nn.Module, ABC):
    """An invertible map z = f(x) with log p(x) = log p(z) + log_det.

    x and z are (B, C, H, W); log_det = log|det dz/dx| is (B,), on the device and in the dtype of
    x, but in float32 at least under autocast, where x may be half (`log_det_dtype`). The input is
    never changed, and `forward` changes no state. A subclass writes `forward` and `_inverse`, and
    keeps its constraint in the parametrization, so that no optimizer step can break
    invertibility; `invconv.MintNetPair` says how far it is an exception.

    Args:
        channels: C; None for a map of any number of channels.
        inverse_method: see the attribute.

    Attributes:
        channels: C or None.
        exact: whether `inverse` is exact up to rounding.
        tolerance: of an inverse that is not, ‖f(x) − z‖ / ‖z‖ of each image at most; infinity
            where `inverse_method` is an algorithm that promises none.
        constant_log_det: whether log_det depends on the shape of x alone, not on its values.
        mixes: whether it is a convolution, which mixes channels or pixels with fixed weights.
        algorithm: what tables call `_inverse`; "" where there is nothing to choose.
        leaving: how many channels of z, the last ones, leave a flow that works in levels as a
            latent; the others go on to the next part.
        context_channels: of a context, which `forward` then takes as a second argument; such a
            map is not inverted.

    >>> import torch
    >>> from invconv import Bijection
    >>> class Sign(Bijection):
    ...     constant_log_det = True
    ...
    ...     def forward(self, x):
    ...         self.check_input(x)
    ...         return -x, x.new_zeros(x.shape[0])
    ...
    ...     def _inverse(self, z):
    ...         return -z
    >>> sign = Sign()
    >>> z, log_det = sign(torch.ones(2, 3, 4, 4))
    >>> z.shape, log_det, sign.inverse(z, check=True).equal(-z)
    (torch.Size([2, 3, 4, 4]), tensor([0., 0.]), True)
    """

    exact: bool = True
    tolerance: float = 0.0
    constant_log_det: bool = False
    mixes: ClassVar[bool] = False
    algorithm: ClassVar[str] = ""
    leaving: int = 0
    context_channels: int = 0

    def __init__(self, channels: int | None = None, inverse_method: str = "auto") -> None:
        super().__init__()
        self.channels = channels if channels is None else check_count(channels, "channels")
        self.inverse_method = inverse_method

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "inverse" in vars(cls):
            raise TypeError(
                f"{cls.__name__} must not define inverse(z, *, check), which is the same for all: "
                "write _inverse(z), which is called with a z that was checked"
            )
        lists_its_options(cls)

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data to latent: z of shape (B, C, H, W) and log|det dz/dx| of shape (B,)."""

    def latent(self, x: Tensor) -> Tensor:
        """z alone, for whatever needs no log_det: a map whose log_det costs more omits it."""
        return self.forward(x)[0]

    @abstractmethod
    def _inverse(self, z: Tensor) -> Tensor:
        """What `inverse` returns, for a z that was checked."""

    @final
    def inverse(self, z: Tensor, *, check: bool = False) -> Tensor:
        """Latent to data: x of shape (B, C, H, W) with f(x) = z, by `inverse_method`.

        Args:
            z: (B, C, H, W).
            check: whether to look at values, which synchronizes a device: ValueError if z is
                not finite, `NumericalError` if the result is not an inverse.
        """
        self.check_input(z, "z")
        published = self._inverse_method == "published"
        x = self.published_inverse(z) if published else self._inverse(z)
        if check:
            self.check_inverse(x, z)
        return x

    def published_inverse(self, z: Tensor) -> Tensor:
        """The inverse by the algorithm of the paper, where that is another one."""
        raise NotImplementedError(f"{self.label} has no other algorithm than its own")

    @classmethod
    def inverse_methods(cls) -> tuple[str, ...]:
        """What `inverse_method` may be: "published" too, if there is a `published_inverse`."""
        other = cls.published_inverse is not Bijection.published_inverse
        return ("auto", "published") if other else ("auto",)

    @property
    def inverse_method(self) -> str:
        """Which algorithm inverts: "auto" for the fastest, or another of `inverse_methods`."""
        return self._inverse_method

    @inverse_method.setter
    def inverse_method(self, method: str) -> None:
        self._inverse_method = check_choice(method, self.inverse_methods(), "inverse_method")

    def solver(self, device: torch.device) -> str:
        """What inverts on ``device``, as tables call it; "" where there is nothing to choose."""
        return self.algorithm if self.inverse_method == "auto" else self.inverse_method

    def unavailable(self, device: torch.device) -> str:
        """Why `inverse_method` cannot run on ``device``; "" if it can."""
        return ""

    def recordable_inverse(self, z: Tensor) -> Map:
        """`inverse`, or with the iterations that ``z`` takes where their number depends on it."""
        return self.inverse

    def convergence(self, z: Tensor) -> dict[str, float]:
        """What iterations of `inverse` take for z, ∞ "inverse_steps" if they fail; {} for none."""
        return {}

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """x, and log|det dx/dz|, (B,): −log_det of x, of one image where it is constant."""
        x = self.inverse(z)
        if self.constant_log_det and len(x) > 1:
            return x, -self(x[:1])[1].repeat(x.shape[0])
        return x, -self(x)[1]

    def reconstruct(self, z: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """x of z, and what `forward` makes of it with its graph: to train without activations.

        A map that can do both for less than an inverse and a forward pass says how.

        Returns:
            x in leaves that require gradients, whose channels follow one another; z and log_det
            as computed from them.
        """
        with torch.no_grad():
            x = self.inverse(z)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return (leaf,), *self(leaf)

    def check_inverse(self, x: Tensor, z: Tensor) -> None:
        """What ``check`` asks of `inverse`: that ``x`` is the inverse of ``z``.

        Raises:
            NumericalError: if x is not finite, or ‖f(x) − z‖ of any image exceeds eps^(2/3) of its
                dtype, or `tolerance` if that is larger, times the larger one of its ‖z‖ and
                ‖z − f(0)‖; with the layer, the residual, an estimate of how far the layer
                magnifies small changes, and whether float64 would do.
            ValueError: if z or a parameter is not finite.
        """
        check_finite(z)
        for name, parameter in self.named_parameters():
            check_finite(parameter, f"{name} of {self.label}")

        def float64() -> tuple[Map, Map]:
            twin = copy.deepcopy(self).double()
            return twin.latent, twin.inverse

        check_inverse(x, z, self.latent, float64, self.label, self.tolerance)

    def initialize(self, x: Tensor) -> None:
        """Data-dependent initialization on one batch, called once before training."""

    def extra_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """(B,) nats to add to the training loss; zero unless the method needs a penalty."""
        return x.new_zeros(x.shape[0])

    def refresh(self) -> None:
        """Drop what eval mode keeps: for writes to GPU memory that torch does not see."""
        for one in caches(self):
            one.clear()

    def check_input(self, x: Tensor, name: str = "x") -> None:
        """Raise unless ``x`` is (B, C, H, W) with C `channels` and the dtype of the parameters."""
        if self.channels is None:
            check_image_tensor(x, name)
        else:
            check_images(x, self.channels, name)
        own = _first_parameter(self)
        if own is None:
            return
        if own.device != x.device:
            raise ValueError(f"{name} is on {x.device} but the layer on {own.device}: move either")
        if own.dtype != x.dtype and not is_autocast(x.device):
            raise TypeError(f"{name} is {x.dtype} but the layer is {own.dtype}: convert either")

    def chained(self) -> list["Bijection"]:
        """The bijections one after the other that make it up: itself, unless it is a container."""
        return [self]

    @property
    def label(self) -> str:
        """What messages call it: the name of the class."""
        return type(self).__name__

    def extra_repr(self) -> str:
        """The constructor's arguments, as far as they are attributes."""
        names = inspect.signature(type(self)).parameters
        return ", ".join(f"{n}={getattr(self, n)!r}" for n in names if hasattr(self, n))


def _first_parameter(module: nn.Module) -> Tensor | None:
    """``next(module.parameters(), None)`` in a tenth of the time."""
    for parameter in module._parameters.values():
        if parameter is not None:
            return parameter
    for child in module._modules.values():
        found = None if child is None else _first_parameter(child)
        if found is not None:
            return found
    return None


def for_each_image(log_det: Tensor | float, x: Tensor) -> Tensor:
    """One log_det for all images of ``x``, as (B,), in `log_det_dtype`."""
    if isinstance(log_det, Tensor):
        return log_det.to(log_det_dtype(x)).repeat(x.shape[0])
    return x.new_full((x.shape[0],), log_det, dtype=log_det_dtype(x))


def log_det_dtype(x: Tensor) -> torch.dtype:
    """The dtype of log_det: that of ``x``; under autocast, which may halve x, at least float32."""
    if is_autocast(x.device):
        return torch.promote_types(x.dtype, torch.float32)
    return x.dtype
