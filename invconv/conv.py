"""The contract that every invertible convolution keeps, and the registry of those that do."""

import inspect
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Literal, Self, TypeVar

from invconv.about import About as About
from invconv.about import Variant as Variant
from invconv.bijection import Bijection
from invconv.bijection import for_each_image as for_each_image
from invconv.bijection import log_det_dtype as log_det_dtype
from invconv.validation import (
    UnsupportedShape,
    check_choice,
    check_count,
    check_options,
    check_shape,
)

Shape = tuple[int, int, int]
"""Channels, height and width of one image."""

GROUP = "invconv.layers"
"""The group of entry points in which an installed package names its layers: name → class."""


class InvertibleConv(Bijection):
    """An invertible convolution: a `Bijection` of images of C channels that papers are written on.

    A subclass calls ``super().__init__(channels)``, and writes `forward` and `_inverse`.

    Attributes:
        sees: which pixels a number of z may depend on, as table 1 calls it.
        assumes: what the layer asks of images, sizes or weights; "" if nothing.
        solve_direction: which direction has to solve a system: "forward", "inverse" or "none".
        about: what tables show of this very class; a subclass does not inherit it.

    >>> import math
    >>> import torch
    >>> from invconv import InvertibleConv
    >>> class Double(InvertibleConv):
    ...     def forward(self, x):
    ...         self.check_input(x)
    ...         return 2 * x, x.new_full((x.shape[0],), math.log(2) * x[0].numel())
    ...
    ...     def _inverse(self, z):
    ...         return z / 2
    >>> z, log_det = Double(3)(torch.ones(2, 3, 4, 4))
    >>> z.shape, log_det
    (torch.Size([2, 3, 4, 4]), tensor([33.2711, 33.2711]))
    """

    channels: int
    constant_log_det = True
    mixes = True
    sees: str = ""
    assumes: ClassVar[str] = ""
    solve_direction: ClassVar[Literal["forward", "inverse", "none"]] = "none"
    about: ClassVar[About | None] = None

    def __init__(self, channels: int, inverse_method: str = "auto") -> None:
        super().__init__(check_count(channels, "channels"), inverse_method)

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
