"""What a check gets, and how it says what is wrong."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from invconv.conv import Shape

Factory = Callable[[Shape], nn.Module]
"""Builds the layer under test for images of (C, H, W)."""


class Outputs(NamedTuple):
    """z and log_det of x, and the inverse of x taken as a latent."""

    z: Tensor
    log_det: Tensor
    inverse: Tensor


Layer = Any
"""Anyone's layer, or one of its directions: of what class it is, only its maker knows."""


@dataclass(frozen=True)
class Case:
    """One shape and dtype of the layer under test.

    Attributes:
        factory: see `Factory`.
        shape: (C, H, W).
        dtype: of parameters and images.
        device: where the layer runs.
        perturb: the standard deviation of what is added to every parameter.
        compiler: the backend of `torch.compile`.
        largest: whether no other shape that is tried has more pixels and channels.
    """

    factory: Factory
    shape: Shape
    dtype: torch.dtype
    device: torch.device
    perturb: float
    compiler: str
    largest: bool = True

    def build(self, seed: int = 0) -> Layer:
        """A new layer in training mode whose parameters were moved away from where they start.

        Many layers start as a rotation or the identity, at which half of all mistakes vanish.
        """
        layer = self.start(seed)
        with torch.no_grad():
            for parameter in layer.parameters():
                if parameter.is_floating_point():
                    parameter.add_(self.perturb * self._normal(parameter.shape))
        return layer

    def start(self, seed: int = 0) -> Layer:
        """A new layer in training mode as the factory made it."""
        torch.manual_seed(seed)
        return self.factory(self.shape).to(self.device, self.dtype).train()

    def copy_of(self, layer: Layer) -> Layer:
        """A new layer with the state_dict of ``layer``, in training mode, with nothing cached."""
        copy = self.start(seed=3)
        copy.load_state_dict(layer.state_dict())
        return copy

    def images(self, batch: int = 3, seed: int = 1) -> Tensor:
        """N(0, 1), (batch, C, H, W)."""
        torch.manual_seed(seed)
        return self._normal((batch, *self.shape))

    def _normal(self, shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, dtype=torch.float64).to(self.device, self.dtype)

    @property
    def tolerance(self) -> float:
        """The relative error up to which two ways to compute one thing agree, eps^(2/3)."""
        return float(torch.finfo(self.dtype).eps ** (2 / 3))

    @property
    def inverse_tolerance(self) -> float:
        """The same for an inverse; eps^(1/3) if the layer says that its own is not exact.

        Or ten times the ``tolerance`` that it states, if that is larger.
        """
        if self.exact:
            return self.tolerance
        return max(self.tolerance**0.5, 10 * self.stated_tolerance)

    @cached_property
    def stated_tolerance(self) -> float:
        """The layer's own word for how far an inverse that is not exact may be off."""
        return float(getattr(self.start(), "tolerance", 0.0))

    @cached_property
    def exact(self) -> bool:
        """The layer's own word for whether its inverse is exact; yes, if it says nothing."""
        return bool(getattr(self.start(), "exact", True))

    def same(
        self,
        found: Tensor,
        truth: Tensor,
        what: str,
        tolerance: float | None = None,
        scale: float = 0.0,
    ) -> None:
        """Fails unless ‖found − truth‖ is at most ``tolerance`` · max(‖truth‖, ``scale``)."""
        require(
            found.shape == truth.shape,
            f"{what}: the shape is {show(found)}, not {show(truth)}",
        )
        allowed = self.tolerance if tolerance is None else tolerance
        error = norm([found.detach().double() - truth.detach()])
        size = max(norm([truth.detach()]), scale)
        if not error <= allowed * size:
            said = f"{error / size:.1e}" if size else f"{error:.1e} where nothing but 0 is right"
            raise AssertionError(f"{what}: the relative error is {said}, more than {allowed:.1e}")

    def same_log_det(self, found: Tensor, truth: Tensor, what: str) -> None:
        """Fails unless two log_det agree; errors count per dimension, as the truth may be 0."""
        self.same(found, truth, f"log_det {what}", scale=truth.numel() * math.prod(self.shape))

    def same_outputs(self, found: Outputs, truth: Outputs, what: str) -> None:
        """Fails unless z, log_det and the inverse agree, in value and dtype."""
        for name, a, b in zip(Outputs._fields, found, truth, strict=True):
            require(a.dtype == b.dtype, f"{name} {what}: it is {a.dtype}, not {b.dtype}")
        self.same(found.z, truth.z, f"z {what}")
        self.same_log_det(found.log_det, truth.log_det, what)
        self.same(found.inverse, truth.inverse, f"inverse {what}", self.inverse_tolerance)

    def same_gradients(
        self, found: "Gradients", truth: "Gradients", what: str, tolerance: float | None = None
    ) -> None:
        """Fails unless each gradient agrees, up to a tolerance times the norm of all of them.

        By default that of the inverse, as gradients go through it.
        """
        allowed = self.inverse_tolerance if tolerance is None else tolerance
        scale = norm(truth.values())
        for name, grad in truth.items():
            self.same(found[name], grad, f"the gradient of {name} {what}", allowed, scale)


Gradients = dict[str, Tensor]
"""The gradient of each parameter by its name, and that of `IMAGES`."""

IMAGES = "the images"
"""What x is called among `Gradients`, and no parameter of a layer."""


def modes(case: Case) -> Iterator[tuple[Layer, str]]:
    """A layer in training mode with gradients, then one in eval mode without."""
    for training in (True, False):
        layer = case.build().train(training)
        with torch.set_grad_enabled(training):
            yield layer, "training" if training else "eval"


def outputs(layer: Layer, x: Tensor) -> Outputs:
    """All that a layer computes, without gradients."""
    with torch.no_grad():
        z, log_det = layer(x)
        return Outputs(z, log_det, layer.inverse(x))


def loss_of(forward: Layer, inverse: Layer, x: Tensor, weight: Tensor) -> Tensor:
    """Σ weight·(z + inverse(x)) + Σ log_det, in which all of a layer has a part."""
    z, log_det = forward(x)
    return (weight * (z + inverse(x))).sum() + log_det.sum()


def gradients_of(layer: Layer, x: Tensor, weight: Tensor) -> Gradients:
    """The gradients of `loss_of` in x, as it lies in memory, and in all parameters."""
    leaf = x.detach().requires_grad_()
    return backward(loss_of(layer, layer.inverse, leaf, weight), leaf, layer)


def backward(loss: Tensor, x: Tensor, layer: Layer) -> Gradients:
    """The gradients of ``loss`` in x and in all parameters; zeros where there is none."""
    leaves = {IMAGES: x, **trainable(layer)}
    grads = torch.autograd.grad(loss, tuple(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.items(), grads, strict=True)
    }


def scale_parameters(layer: Layer, factor: float) -> None:
    """Multiplies all parameters by ``factor``, in place."""
    with torch.no_grad():
        for parameter in trainable(layer).values():
            parameter.mul_(factor)


def require(condition: bool, message: str) -> None:
    """AssertionError with ``message`` unless ``condition``."""
    if not condition:
        raise AssertionError(message)


def norm(tensors: Iterable[Tensor | None]) -> float:
    """‖·‖₂ of all entries of all tensors."""
    squares = [t.double().square().sum().item() for t in tensors if t is not None]
    return math.sqrt(sum(squares))


def show(tensor: Tensor) -> str:
    """A shape, as text."""
    return str(tuple(tensor.shape))


def trainable(layer: Layer) -> dict[str, Tensor]:
    """The parameters that gradients can reach, by name."""
    return {name: p for name, p in layer.named_parameters() if p.requires_grad}


class Inverse(nn.Module):
    """A layer turned around, for what only calls `forward`."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, z: Tensor) -> Tensor:
        """The layer's inverse of z."""
        return self.layer.inverse(z)


class Both(nn.Module):
    """z, log_det and the inverse of x, for what records a module."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Outputs:
        """All that the layer computes."""
        return Outputs._make((*self.layer(x), self.layer.inverse(x)))
