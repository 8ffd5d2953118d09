"""Checks of what a caller handed in; each failure is one sentence that says what is allowed."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def check_images(x: Tensor, channels: int, name: str = "x") -> None:
    """Raises unless ``x`` is a floating-point (B, ``channels``, H, W) tensor."""
    check_image_tensor(x, name)
    if x.shape[1] != channels:
        raise ValueError(
            f"{name} must have {channels} channels, shape (B, {channels}, H, W), "
            f"not shape {tuple(x.shape)}"
        )


def check_shape(shape: object) -> tuple[int, int, int]:
    """Raises unless ``shape`` is (C, H, W) with integers of at least 1, and returns it."""
    sizes = tuple(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else ()
    if len(sizes) != 3 or not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"shape must be (C, H, W) with integers of at least 1, not {shape!r}")
    return sizes


def check_image_tensor(x: Tensor, name: str = "x", layout: str = "(B, C, H, W)") -> None:
    """Raises unless ``x`` is a dense floating-point tensor of rank 4."""
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


def check_kernel_size(kernel_size: int) -> int:
    """Raises unless ``kernel_size`` is an integer of at least 1, and returns it."""
    if isinstance(kernel_size, bool) or not isinstance(kernel_size, int):
        raise TypeError(f"kernel_size must be an int, not {kernel_size!r}")
    if kernel_size < 1:
        raise ValueError(f"kernel_size must be at least 1, not {kernel_size}")
    return kernel_size


def check_count(value: int, name: str) -> int:
    """Raises ValueError unless ``value`` is an integer of at least 1, and returns it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be an int of at least 1, not {value!r}")
    return value


def check_finite(x: Tensor, name: str = "z") -> None:
    """Raises ValueError if ``x`` holds NaN or infinity (synchronises a device)."""
    bad = x.numel() - int(torch.isfinite(x).sum())
    if bad:
        raise ValueError(f"{name} holds {bad} of {x.numel()} values that are NaN or infinite")


def check_options(options: Iterable[str], known: Iterable[str], owner: str) -> None:
    """Raises TypeError, listing what is known, unless all ``options`` are names of ``known``."""
    names = tuple(known)
    for option in options:
        if option not in names:
            raise TypeError(
                f"{owner} has no option {option!r}; known: {', '.join(names) or 'none'}"
            )


def check_choice(value: str, choices: Iterable[str], what: str) -> str:
    """Raises ValueError, listing what is known, unless ``value`` is one of ``choices``."""
    known = tuple(choices)
    if value not in known:
        raise ValueError(f"unknown {what} {value!r}; known: {', '.join(map(str, known))}")
    return value
