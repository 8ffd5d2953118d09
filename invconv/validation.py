"""Checks of what a caller handed in; each failure is one sentence that says what is allowed."""

import functools
import inspect
import operator
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from invconv.modes import is_tracing


class UnsupportedShape(ValueError):
    """A layer takes images of other shapes, but not of this one."""


def check_images(x: Tensor, channels: int, name: str = "x") -> None:
    """Raise unless ``x`` is a floating-point (B, ``channels``, H, W) tensor."""
    check_image_tensor(x, name)
    if x.shape[1] != channels:
        raise ValueError(
            f"{name} must have {channels} channels, shape (B, {channels}, H, W), "
            f"not shape {tuple(x.shape)}"
        )


def check_size(x: Tensor, shape: tuple[int, int, int], name: str = "x") -> None:
    """Raise unless ``x``, (B, C, H, W), has the ``shape`` that a layer was built for."""
    if tuple(x.shape[1:]) != shape:
        channels, height, width = shape
        raise ValueError(
            f"{name} must have shape (B, {channels}, {height}, {width}): this layer has "
            f"parameters for every pixel and was built for that size, not for "
            f"{x.shape[2]}×{x.shape[3]}"
        )


def check_shape(shape: object) -> tuple[int, int, int]:
    """Raise unless ``shape`` is (C, H, W) with integers of at least 1, and return it."""
    given = shape if isinstance(shape, Sequence) and not isinstance(shape, str) else ()
    sizes = [size for size in map(whole, given) if size is not None and size > 0]
    if len(sizes) != 3 or len(given) != 3:
        raise ValueError(f"shape must be (C, H, W) with integers of at least 1, not {shape!r}")
    return sizes[0], sizes[1], sizes[2]


def check_image_tensor(x: Tensor, name: str = "x", layout: str = "(B, C, H, W)") -> None:
    """Raise unless ``x`` is a dense floating-point tensor of rank 4."""
    if isinstance(x, tuple):
        raise TypeError(
            f"{name} must be a torch.Tensor, not tuple: a layer returns (z, log_det), so that "
            "nn.Sequential cannot chain layers; call one after the other and add their log_dets, "
            "as invconv.flows.MultiScaleFlow does"
        )
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, not {type(x).__name__}")
    if x.ndim != 4:
        raise ValueError(
            f"{name} must have rank 4, shape {layout}, not rank {x.ndim}, shape {tuple(x.shape)}"
        )
    if x.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, not one of layout {x.layout}")
    if not x.is_floating_point():
        raise TypeError(
            f"{name} must be a floating-point tensor (bfloat16, float16, float32 or float64), "
            f"not {x.dtype}; call .float() on it first"
        )


def whole(value: object) -> int | None:
    """``value`` as an int, if it is one of Python, NumPy or torch; None for others and for bool.

    >>> from invconv.validation import whole
    >>> whole(2), whole(2.0), whole(True), whole("2")
    (2, None, None, None)
    """
    try:
        return None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def no_pixels(x: Tensor) -> bool:
    """Whether H or W of (B, C, H, W) is 0, where torch refuses to convolve; False in a trace."""
    return not is_tracing() and not x.shape[2] * x.shape[3]


def check_kernel_size(kernel_size: int) -> int:
    """Raise unless ``kernel_size`` is an integer of at least 1, and return it."""
    size = whole(kernel_size)
    if size is None:
        raise TypeError(f"kernel_size must be an int, not {kernel_size!r}")
    if size < 1:
        raise ValueError(f"kernel_size must be at least 1, not {kernel_size}")
    return size


def check_count(value: int, name: str, least: int = 1) -> int:
    """Raise ValueError unless ``value`` is an integer of at least ``least``, and return it."""
    count = whole(value)
    if count is None or count < least:
        raise ValueError(f"{name} must be an int of at least {least}, not {value!r}")
    return count


def check_finite(x: Tensor, name: str = "z") -> None:
    """Raise ValueError if ``x`` holds NaN or infinity (synchronizes a device)."""
    bad = x.numel() - int(torch.isfinite(x).sum())
    if bad:
        raise ValueError(f"{name} holds {bad} of {x.numel()} values that are NaN or infinite")


def check_options(options: Iterable[str], known: Iterable[str], owner: str) -> None:
    """Raise TypeError, listing what is known, unless all ``options`` are names of ``known``."""
    names = tuple(known)
    for option in options:
        if option not in names:
            raise TypeError(
                f"{owner} has no option {option!r}; known: {', '.join(names) or 'none'}"
                f"{did_you_mean(option, names)}"
            )


def lists_its_options(cls: type) -> None:
    """Lets ``cls`` refuse an unknown keyword as `check_options` does, not in Python's words."""
    if "__init__" not in vars(cls):
        return
    init: Callable[..., None] = cls.__init__  # type: ignore[misc]
    parameters = list(inspect.signature(init).parameters.values())[1:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return

    @functools.wraps(init)
    def checked(self: object, *arguments: Any, **options: Any) -> None:
        check_options(options, [parameter.name for parameter in parameters], cls.__name__)
        init(self, *arguments, **options)

    cls.__init__ = checked  # type: ignore[misc]


def check_choice(value: str, choices: Iterable[str], what: str) -> str:
    """Raise ValueError, listing what is known, unless ``value`` is one of ``choices``."""
    known = tuple(choices)
    if value not in known:
        meant = did_you_mean(value, map(str, known))
        raise ValueError(f"unknown {what} {value!r}; known: {', '.join(map(str, known))}{meant}")
    return value


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """Return "; did you mean finc?" for "fincc", "" if nothing known is near."""
    near = get_close_matches(str(value).lower(), list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
