"""Parts of a flow in a row, whose backward pass inverts instead of keeping activations."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from invconv.bijection import Bijection
from invconv.numerical import NumericalError, relative_errors

SAMPLES = 16
"""How many values of an image are kept of each activation, to compare with."""


@dataclass
class Reversible:
    """What a flow finds out while it trains with ``memory="auto"`` or "reversible".

    Attributes:
        stored: the places, counted over all parts, before which activations are stored.
        drift: ‖x̂ − x‖ / ‖x‖ of reconstructed activations x̂, of the worst image and place in the
            latest backward pass; those that were rejected do not count.
        used: bytes of the activations that the latest pass stored.
        budget: how many they may be; None for any number.
    """

    stored: set[int] = field(default_factory=set)
    drift: float = 0.0
    used: int = 0
    budget: int | None = None


def allowed_drift(dtype: torch.dtype) -> float:
    """The relative error of a reconstructed activation that is trained on: √eps."""
    return torch.finfo(dtype).eps ** 0.5


class Chain:
    """Parts one after the other, of which a backward pass needs the last output alone.

    Args:
        first: the place of the first part in the flow.
        parts: with what they are called in messages.
        found: where activations are stored, and how far the others drift.
        may_store: whether to store where they drift too far, or to raise.
    """

    def __init__(
        self, first: int, parts: list[tuple[str, Bijection]], found: Reversible, may_store: bool
    ) -> None:
        self.first, self.found, self.may_store = first, found, may_store
        self.names = [f"{place} ({part.label})" for place, part in parts]
        self.parts = [part for _, part in parts]
        unique = {id(p): p for part in self.parts for p in part.parameters() if p.requires_grad}
        self.parameters = list(unique.values())
        self.leaving = self.parts[-1].leaving

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z and log_det of all parts, (B,)."""
        z, log_det = _Reversed.apply(self, x, *self.parameters)
        return z, log_det

    def run(self, x: Tensor) -> tuple[Tensor, Tensor, dict[int, Tensor], list[Tensor]]:
        """z, log_det, the activations that are stored, and samples of all of them."""
        kept, samples, log_det = {0: x}, [], x.new_zeros(x.shape[0])
        for i, part in enumerate(self.parts):
            if i and self.first + i in self.found.stored:
                kept[i] = x
                self.found.used += x.nbytes
            samples.append(_sampled(x))
            x, change = part(x)
            log_det = log_det + change
        return x, log_det, kept, samples

    def back(
        self,
        kept: dict[int, Tensor],
        samples: list[Tensor],
        z: Tensor,
        grads: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, "Gradients"]:
        """The gradient of the input, and those of the parameters.

        Args:
            kept, samples: as `run` returned them.
            z: what it returned first.
            grads: of z and log_det.
        """
        grad_z, grad_log_det = grads
        own = Gradients()
        stop = len(self.parts)
        for start in sorted(kept, reverse=True):
            grad_z = self._piece(
                (start, stop), kept[start], samples, z, (grad_z, grad_log_det), own
            )
            z, stop = kept[start], start
        return grad_z, own

    def _piece(
        self,
        ends: tuple[int, int],
        x: Tensor,
        samples: list[Tensor],
        z: Tensor,
        grads: tuple[Tensor, Tensor],
        total: "Gradients",
    ) -> Tensor:
        """The gradient of the stored input ``x`` of some parts, whose output is ``z``."""
        start, stop = ends
        if stop - start == 1:
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                made = self.parts[start](leaf)
            return total.add(self.parts[start], (leaf,), made, grads)
        own, (grad, grad_log_det), y = Gradients(), grads, z
        drifts = []
        for i in reversed(range(start, stop)):
            leaves, *made = self.parts[i].reconstruct(y)
            y = torch.cat([leaf.detach() for leaf in leaves], 1)
            grad = own.add(self.parts[i], leaves, made, (grad, grad_log_det))
            del leaves, made
            drifts.append(_drift(_sampled(y), samples[i]))
        drifts.append(_drift(y, x))
        # what is not finite is left to whoever looks at the loss
        found = torch.stack(drifts).where(torch.isfinite(z).all(), 0.0)
        bad = (~(found <= allowed_drift(z.dtype))).tolist()  # waits for a device
        if not any(bad):
            self.found.drift = max(self.found.drift, found.max().item())
            total.merge(own)
            return grad
        del own, grad
        first = bad.index(True)
        place = max(stop - 1 - first, start)
        cut = self._cut(place, stop, found[first].item(), z.nbytes)
        y = x
        for part in self.parts[start:cut]:
            y = part(y)[0]
        grad = self._piece((cut, stop), y, samples, z, grads, total)
        return self._piece((start, cut), x, samples, y, (grad, grad_log_det), total)

    def _cut(self, place: int, stop: int, drift: float, size: int) -> int:
        """Store, from now on, what keeps the input of part ``place`` from drifting; return where.

        That is its output, or, if it was computed from a stored output, its input itself.
        """
        name = self.names[place]
        said = f"its reconstructed input is off by {drift:.1e}, more than is trained on"
        if not self.may_store:
            raise NumericalError(
                f'{said}; memory="auto" stores it, "ordinary" stores all', name, drift
            )
        if self.found.budget is not None and self.found.used + size > self.found.budget:
            raise NumericalError(
                f"{said}, and to store it takes more than the {self.found.budget} bytes that such "
                "activations may take: allow more, bound the layers (max_growth), or use float64",
                name,
                drift,
            )
        self.found.used += size
        alone = place + 1 == stop
        if alone:
            warnings.warn(f"{name}: {said}, and is stored", stacklevel=2)
        cut = place if alone else place + 1
        self.found.stored.add(self.first + cut)
        return cut


class Gradients(dict[int, Tensor]):
    """Gradients of parameters, by their identity."""

    def add(
        self,
        part: nn.Module,
        leaves: Sequence[Tensor],
        made: Sequence[Tensor],
        grads: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Add those of a part's parameters, and return that of its input."""
        parameters = [p for p in part.parameters() if p.requires_grad]
        outputs = [(m, g) for m, g in zip(made, grads, strict=True) if m.requires_grad]
        found = torch.autograd.grad(
            [m for m, _ in outputs],
            [*leaves, *parameters],
            [g.to(m.dtype) for m, g in outputs],
            allow_unused=True,
        )
        for parameter, gradient in zip(parameters, found[len(leaves) :], strict=True):
            if gradient is not None:
                self._plus(id(parameter), gradient)
        inner = zip(leaves, found, strict=False)
        return torch.cat([torch.zeros_like(x) if g is None else g for x, g in inner], 1)

    def merge(self, others: "Gradients") -> None:
        """Add all of them."""
        for key, gradient in others.items():
            self._plus(key, gradient)

    def _plus(self, key: int, gradient: Tensor) -> None:
        self[key] = self[key] + gradient if key in self else gradient


class _Reversed(torch.autograd.Function):
    """A chain as an operator."""

    @staticmethod
    def forward(ctx: Any, chain: Chain, x: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det, kept, samples = chain.run(x)
        kind = x.device.type
        ctx.autocast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        ctx.chain, ctx.places = chain, list(kept)
        # the parameters, too, so that torch refuses those that were changed in the meantime
        ctx.save_for_backward(z, *kept.values(), *samples, *chain.parameters)
        return z, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log_det: Tensor) -> tuple[Tensor | None, ...]:
        chain: Chain = ctx.chain
        z, *rest = ctx.saved_tensors
        kept = dict(zip(ctx.places, rest, strict=False))
        kind, dtype, enabled = ctx.autocast
        with torch.autocast(kind, dtype=dtype, enabled=enabled):
            samples = rest[len(kept) : len(kept) + len(chain.parts)]
            grad, own = chain.back(kept, samples, z, (grad_z, grad_log_det))
        return None, grad, *(own.pop(id(p), None) for p in chain.parameters)


def _sampled(x: Tensor) -> Tensor:
    """`SAMPLES` values of every image, or all where there are fewer, (B, SAMPLES)."""
    flat = x.detach().reshape(len(x), -1)
    return flat[:, _places(flat.shape[1], x.device)]


@lru_cache(maxsize=64)
def _places(size: int, device: torch.device) -> Tensor:
    return torch.linspace(0, size - 1, min(size, SAMPLES), device=device).long()


def _drift(x: Tensor, truth: Tensor) -> Tensor:
    """‖x − truth‖ / ‖truth‖ of the worst image; 0 where the truth is not finite itself."""
    finite = truth.flatten(1).isfinite().all(1)
    errors = relative_errors(x, truth).where(finite, 0.0)
    return torch.cat([errors.new_zeros(1), errors]).amax()
