"""The layer that is assessed: in a package, in a file, or a class at hand."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from torch import Tensor, nn

from invconv.adapted import as_bijection
from invconv.conv import InvertibleConv, Shape, layer_class, register, registered
from invconv.files import brief, import_file

CANDIDATES: tuple[Shape, ...] = ((4, 3, 2), (4, 4, 4), (3, 3, 2), (3, 4, 4), (12, 4, 4), (8, 8, 8))
"""Tiny shapes, of which the checks take the first two that the layer takes."""


class TargetError(ValueError):
    """A layer that cannot be found or built."""


@dataclass(frozen=True)
class Target:
    """A layer to assess.

    Attributes:
        name: as it was given.
        layer: the class; any `torch.nn.Module` with ``forward`` and ``inverse``.
        options: of its constructor.
        conv: the name under which `invconv.build` knows it.
    """

    name: str
    layer: type[nn.Module]
    options: Mapping[str, Any]
    conv: str

    def build(self, shape: Shape) -> nn.Module:
        """The layer for images of (C, H, W), as its author wrote it."""
        return _built(self.layer, shape, self.options)

    def shapes(self) -> list[Shape]:
        """The tiny shapes that the checks take.

        Raises:
            TargetError: if the layer cannot be built for any.
        """
        taken, refused = [], ""
        for shape in CANDIDATES:
            try:
                self.build(shape)
                taken.append(shape)
            except Exception as error:
                refused = refused or f"{type(error).__name__}: {brief(error)}"
                if not isinstance(error, ValueError):
                    break
        if not taken:
            raise TargetError(
                f"{self.name} cannot be built for images of {CANDIDATES[0]} ({refused}): name "
                "shapes that it takes (--shapes 16x4x4) or its arguments (--option NAME=VALUE)"
            )
        return taken[:2]

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.name}({options})" if options else self.name


def find(layer: str | type[nn.Module], options: Mapping[str, Any] | None = None) -> Target:
    """Find a layer, and make it known to `invconv.build`.

    Args:
        layer: "package.module:Class", "file.py:Class", a registered name, or the class.
        options: of its constructor.

    Raises:
        TargetError: if there is no such class, or its module cannot be imported.
    """
    name = layer if isinstance(layer, str) else f"{layer.__module__}:{layer.__qualname__}"
    found = _class_of(layer) if isinstance(layer, str) else layer
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise TargetError(f"{name} is no class of layers, a subclass of torch.nn.Module: {found}")
    if not callable(getattr(found, "inverse", None)):
        raise TargetError(f"{name} has no method inverse(z): an invertible layer needs one")
    known = next((conv for conv, one in registered().items() if one is found), "")
    if not known:
        register(name)(found if issubclass(found, InvertibleConv) else _adapted(found))
    return Target(name, found, dict(options or {}), known or name)


def _class_of(text: str) -> object:
    place, colon, name = text.rpartition(":")
    try:
        if not colon:
            return layer_class(text)
        module = import_file(place) if place.endswith(".py") else _from_package(place)
    except Exception as error:  # whatever the module does when it is imported
        help = "" if colon else " (for a layer elsewhere: package.module:Class or file.py:Class)"
        raise TargetError(
            f"{text} cannot be imported: {type(error).__name__}: {brief(error)}{help}"
        ) from error
    if not hasattr(module, name):
        raise TargetError(f"{place} has no class {name!r}")
    return getattr(module, name)


def _from_package(name: str) -> ModuleType:
    """The module, also of a package in the current folder."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return import_module(name)


def _built(layer: type[Any], shape: Shape, options: Mapping[str, Any]) -> nn.Module:
    made: nn.Module = (
        layer.from_shape(shape, **options)
        if hasattr(layer, "from_shape")
        else layer(shape[0], **options)
    )
    return made


def _adapted(layer: type[nn.Module]) -> type[InvertibleConv]:
    """A layer that only keeps the contract, as a layer of ours."""

    class Adapted(InvertibleConv):
        def __init__(self, channels: int, layer: Any) -> None:
            super().__init__(channels)
            self.layer = as_bijection(layer)
            self.exact = self.layer.exact
            self.constant_log_det = self.layer.constant_log_det

        @classmethod
        def from_shape(cls, shape: Shape, **options: Any) -> Self:
            return cls(shape[0], _built(layer, shape, options))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            z, log_det = self.layer(x)
            return z, log_det

        def _inverse(self, z: Tensor) -> Tensor:
            return self.layer.inverse(z)

        def initialize(self, x: Tensor) -> None:
            self.layer.initialize(x)

    Adapted.__name__, Adapted.__qualname__ = layer.__name__, layer.__qualname__
    Adapted.__module__ = layer.__module__
    return Adapted
