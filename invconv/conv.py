"""The contract that every invertible convolution keeps, and the registry of those that do."""

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Literal, Self, TypeVar

import torch
from torch import Tensor, nn

from invconv.about import About as About
from invconv.about import Variant as Variant
from invconv.cache import caches
from invconv.modes import is_autocast
from invconv.numerical import Map, check_inverse
from invconv.validation import (
    UnsupportedShape,
    check_choice,
    check_count,
    check_finite,
    check_images,
    check_options,
    check_shape,
    lists_its_options,
)

Shape = tuple[int, int, int]
"""Channels, height and width of one image."""

GROUP = "invconv.layers"
"""The group of entry points in which an installed package names its layers: name → class."""


class InvertibleConv(nn.Module, ABC):
    """An invertible convolution z = f(x) with log p(x) = log p(z) + log_det.

    x and z are (B, C, H, W); log_det = log|det dz/dx| is (B,), on the device and in the dtype of
    x, but in float32 at least under autocast, where x may be half (`log_det_dtype`). The input is
    never changed, and `forward` changes no state. A subclass calls ``super().__init__(channels)``
    and keeps its constraint in the parametrization, so that no optimizer step can break
    invertibility.

    Attributes:
        channels: C.
        exact: whether `inverse` is exact up to rounding.
        constant_log_det: whether log_det depends on the shape of x alone, not on its values.
        solve_direction: which direction has to solve a system: "forward", "inverse" or "none".
        about: what tables show of this very class; a subclass does not inherit it.

    >>> import torch
    >>> from invconv import InvertibleConv
    >>> class Sign(InvertibleConv):
    ...     def forward(self, x):
    ...         self.check_input(x)
    ...         return -x, x.new_zeros(x.shape[0])
    ...
    ...     def inverse(self, z, *, check=False):
    ...         self.check_input(z, "z")
    ...         return -z
    >>> z, log_det = Sign(3)(torch.ones(2, 3, 4, 4))
    >>> z.shape, log_det
    (torch.Size([2, 3, 4, 4]), tensor([0., 0.]))
    """

    exact: ClassVar[bool] = True
    constant_log_det: ClassVar[bool] = True
    solve_direction: ClassVar[Literal["forward", "inverse", "none"]] = "none"
    about: ClassVar[About | None] = None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = check_count(channels, "channels")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        lists_its_options(cls)

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Data to latent: z of shape (B, C, H, W) and log|det dz/dx| of shape (B,)."""

    @abstractmethod
    def inverse(self, z: Tensor, *, check: bool = False) -> Tensor:
        """Latent to data: x of shape (B, C, H, W) with f(x) = z.

        Args:
            z: (B, C, H, W).
            check: whether to look at values, which synchronizes a device: ValueError if z is
                not finite, `NumericalError` if the result is not an inverse.
        """

    def check_inverse(self, x: Tensor, z: Tensor) -> None:
        """What ``check`` asks of `inverse`: that ``x`` is the inverse of ``z``.

        Raises:
            NumericalError: if x is not finite, or ‖f(x) − z‖ of any image exceeds eps^(2/3) of its
                dtype times the larger one of its ‖z‖ and ‖z − f(0)‖; with the layer, the residual,
                an estimate of how far the layer magnifies small changes, and whether float64
                would do.
            ValueError: if z or a parameter is not finite.
        """
        check_finite(z)
        for name, parameter in self.named_parameters():
            check_finite(parameter, f"{name} of {type(self).__name__}")

        def float64() -> tuple[Map, Map]:
            twin = copy.deepcopy(self).double()
            return lambda x: twin.forward(x)[0], twin.inverse

        check_inverse(x, z, lambda x: self.forward(x)[0], float64, type(self).__name__)

    def initialize(self, x: Tensor) -> None:
        """Data-dependent initialization on one batch, called once before training."""

    def refresh(self) -> None:
        """Drop what eval mode keeps: for writes to GPU memory that torch does not see."""
        for one in caches(self):
            one.clear()

    def extra_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """(B,) nats to add to the training loss; zero unless the method needs a penalty."""
        return x.new_zeros(x.shape[0])

    def solver(self, device: torch.device) -> str:
        """The name of the solver's method that the layer runs there; "" where it needs none."""
        return ""

    def dependent_steps(self, height: int, width: int) -> int:
        """How many steps of `inverse` have to follow one another: 1 if no pixel needs another."""
        return 1

    @classmethod
    def from_shape(cls, shape: Shape, **options: Any) -> Self:
        """Build the layer for images of ``shape`` = (C, H, W).

        Raises TypeError for an option that the layer does not have, listing its own.
        """
        return cls(shape[0], **cls.known_options(options))

    @classmethod
    def kernel_options(cls, k: int) -> dict[str, Any] | None:
        """Return the options of a k×k kernel; None if the layer has no such kernel."""
        return {"kernel_size": k} if "kernel_size" in inspect.signature(cls).parameters else None

    @classmethod
    def known_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """``options``, if all of them are keyword arguments of the constructor."""
        check_options(options, list(inspect.signature(cls).parameters)[1:], cls.__name__)
        return options

    def check_input(self, x: Tensor, name: str = "x") -> None:
        """Raise unless ``x`` is (B, C, H, W) with C `channels` and the layer's dtype."""
        check_images(x, self.channels, name)
        own = next(self.parameters(), x)
        if own.dtype != x.dtype and not is_autocast(x.device):
            raise TypeError(f"{name} is {x.dtype} but the layer is {own.dtype}: convert either")

    def extra_repr(self) -> str:
        """The constructor's arguments, as far as they are attributes."""
        names = inspect.signature(type(self)).parameters
        return ", ".join(f"{n}={getattr(self, n)!r}" for n in names if hasattr(self, n))


def log_det_dtype(x: Tensor) -> torch.dtype:
    """The dtype of log_det: that of ``x``; under autocast, which may halve x, at least float32."""
    if is_autocast(x.device):
        return torch.promote_types(x.dtype, torch.float32)
    return x.dtype


ORDINARY: Shape = (48, 16, 16)
"""A shape that every layer takes: of many divisors, and larger than most kernels."""
Layer = TypeVar("Layer", bound=InvertibleConv)
_REGISTRY: dict[str, type[InvertibleConv]] = {}


def register(name: str) -> Callable[[type[Layer]], type[Layer]]:
    """A class decorator that makes a layer available to `build` under ``name``.

    Raises TypeError if the class is no `InvertibleConv`, ValueError if another has the name.

    >>> from invconv import FInC, register
    >>> register("finc")(FInC) is FInC
    True
    """

    def add(layer: type[Layer]) -> type[Layer]:
        if not (isinstance(layer, type) and issubclass(layer, InvertibleConv)):
            raise TypeError(f"a registered layer must be a subclass of InvertibleConv: {layer!r}")
        taken = registered().get(name)
        origin = (layer.__module__, layer.__qualname__)
        if taken is not None and (taken.__module__, taken.__qualname__) != origin:
            raise ValueError(f"the name {name!r} is taken by {taken.__module__}.{taken.__name__}")
        _REGISTRY[name] = layer
        return layer

    return add


def available() -> tuple[str, ...]:
    """The names of all registered layers, sorted; `entry_points` of `GROUP` may name more.

    >>> import invconv
    >>> "finc" in invconv.available()
    True
    """
    return tuple(sorted(registered()))


def registered() -> dict[str, type[InvertibleConv]]:
    """The registered layers by name, in the order of their registration."""
    import_module("invconv.layers")  # which import this module
    return dict(_REGISTRY)


def layer_class(name: str) -> type[InvertibleConv]:
    """The class registered under ``name``, or that an installed package names in `GROUP`.

    Raises ImportError if that package's module cannot be imported, ValueError for other names.
    """
    if name not in registered():
        others = {entry.name: entry for entry in entry_points(group=GROUP)}
        check_choice(name, sorted({*available(), *others}), "layer")
        try:
            register(name)(others[name].load())
        except (ImportError, AttributeError) as error:
            raise ImportError(
                f"the layer {name!r} is {others[name].value}, which cannot be imported: {error}"
            ) from error
    return _REGISTRY[name]


def build(name: str, shape: Shape, **options: Any) -> InvertibleConv:
    """Build the layer ``name`` for images of ``shape`` = (C, H, W).

    Raises:
        ImportError: if another package has the layer and cannot be imported.
        TypeError: for an option that the layer does not have.
        UnsupportedShape: if the layer refuses this shape, but not (48, 16, 16).
        ValueError: for an unknown name, a shape that is not (C, H, W), or values that the layer
            refuses.

    >>> import invconv
    >>> invconv.build("finc", (8, 16, 16), kernel_size=3)
    FInC(channels=8, kernel_size=3, inverse_method='auto', max_growth=None)
    """
    layer, sizes = layer_class(name), check_shape(shape)
    try:
        return layer.from_shape(sizes, **options)
    except ValueError as refusal:
        try:
            layer.from_shape(ORDINARY, **options)
        except Exception:  # the options are to blame
            raise refusal from None
        raise UnsupportedShape(str(refusal)) from refusal
