"""Checks of how a layer treats what it is given, and of what it gives away."""

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from invconv.testing.case import Case, Outputs, outputs, require, show


def _modes(case: Case) -> Iterator[tuple[Any, str]]:
    """A layer in training mode with gradients, then one in eval mode without."""
    for training in (True, False):
        layer = case.build().train(training)
        with torch.set_grad_enabled(training):
            yield layer, "training" if training else "eval"


def input_not_changed(case: Case) -> None:
    """forward and inverse leave x as it was."""
    for layer, mode in _modes(case):
        for name in ("forward", "inverse"):
            x = case.images()
            before = x.clone()
            getattr(layer, name)(x)
            require(torch.equal(x, before), f"{name} changed its input in {mode} mode")


def outputs_may_be_changed(case: Case) -> None:
    """z, log_det and the inverse own their memory: writing to them changes nothing else."""
    for layer, mode in _modes(case):
        x = case.images()
        before = x.clone()
        z, log_det = layer(x)
        inverse = layer.inverse(x)
        truth = z.detach().clone(), log_det.detach().clone(), inverse.detach().clone()
        for name, value in (("z", z), ("log_det", log_det), ("the inverse", inverse)):
            try:
                value += 1
            except RuntimeError as error:
                raise AssertionError(
                    f"{name} cannot be added to in place in {mode} mode: {error}"
                ) from error
        require(torch.equal(x, before), f"writing to an output changed x in {mode} mode")
        again = (*layer(x), layer.inverse(x))
        for name, a, b in zip(("z", "log_det", "the inverse"), again, truth, strict=True):
            case.same(a, b, f"{name} after earlier outputs were written to, in {mode} mode")


def determinism(case: Case) -> None:
    """Two calls give the same bits, in training and in eval mode."""
    x = case.images()
    for layer, mode in _modes(case):
        one, other = outputs(layer, x), outputs(layer, x)
        for name, a, b in zip(one._fields, one, other, strict=True):
            require(torch.equal(a, b), f"two calls give another {name} in {mode} mode")


def samples_do_not_mix(case: Case) -> None:
    """Each image of a batch gets what it gets alone, whatever the others are."""
    x = case.images()
    for layer, mode in _modes(case):
        truth = outputs(layer, x[1:2])
        for others in (1.0, 100.0):
            batch = others * x
            batch[1] = x[1]
            found = Outputs._make(value[1:2] for value in outputs(layer, batch))
            case.same_outputs(found, truth, f"of an image in a batch and alone, in {mode} mode")


def zero_batch(case: Case) -> None:
    """A batch of no images gives empty results, and gradients of zero."""
    x = case.images()[:0]
    for layer, mode in _modes(case):
        z, log_det = layer(x)
        inverse = layer.inverse(x)
        for name, value in (("z", z), ("the inverse", inverse)):
            require(value.shape == x.shape, f"{name} has shape {show(value)} in {mode} mode")
        require(log_det.shape == (0,), f"log_det has shape {show(log_det)} in {mode} mode")
        loss = z.sum() + log_det.sum() + inverse.sum()
        if loss.requires_grad:
            loss.backward()


def non_contiguous(case: Case) -> None:
    """Strided, transposed, sliced and expanded images, and gradients that are expanded."""
    channels, height, width = case.shape
    x = case.images()
    turned = x.mT.contiguous().mT
    wide = torch.stack([x, torch.full_like(x, torch.nan)], -1).flatten(3)[..., ::2]
    inner = torch.nn.functional.pad(x, (1, 2, 2, 1, 1, 1), value=torch.nan)
    inner = inner[:, 1 : 1 + channels, 2 : 2 + height, 1 : 1 + width]
    views = {"transposed": turned, "every second column": wide, "a slice": inner}
    views["expanded"] = x[:1].expand(3, -1, -1, -1)
    for layer, mode in _modes(case):
        for kind, view in views.items():
            truth = outputs(layer, view.clone(memory_format=torch.contiguous_format))
            case.same_outputs(outputs(layer, view), truth, f"of {kind} images in {mode} mode")
    layer = case.build()
    expanded, dense = x.clone().requires_grad_(), x.clone().requires_grad_()
    for name, call in (("z", lambda a: layer(a)[0]), ("the inverse", layer.inverse)):
        (grad,) = torch.autograd.grad(call(expanded).sum(), expanded)
        (wanted,) = torch.autograd.grad(call(dense), dense, torch.ones_like(x))
        case.same(grad, wanted, f"the gradient of {name} from an expanded gradient")


def channels_last(case: Case) -> None:
    """Images in channels_last, and a layer that was moved to it, compute the same."""
    x = case.images()
    turned = x.contiguous(memory_format=torch.channels_last)
    for layer, mode in _modes(case):
        truth = outputs(layer, x)
        case.same_outputs(outputs(layer, turned), truth, f"of channels_last in {mode} mode")
        layer.to(memory_format=torch.channels_last)
        for images in (x, turned):
            case.same_outputs(
                outputs(layer, images), truth, f"of a channels_last layer in {mode} mode"
            )


def autocast(case: Case) -> None:
    """Under `torch.autocast` to bfloat16, float32 and bfloat16 images come back through f.

    z, log_det and the inverse differ from those of float32 by at most 2⁻⁴ of their norm (of the
    number of dimensions, for log_det), and leave nothing behind. Runs for float32.
    """
    if case.dtype != torch.float32:
        return
    x = case.images().bfloat16().float()
    for layer, mode in _modes(case):
        truth = outputs(copy.deepcopy(layer), x)  # what the layer keeps is made under autocast
        with torch.autocast(case.device.type, dtype=torch.bfloat16):
            for images in (x, x.bfloat16()):
                z, log_det = layer(images)
                again = layer.inverse(z)
        what = f"under autocast in {mode} mode"
        case.same(z, truth.z, f"z {what}", 2**-4)
        case.same(again, x, f"inverse(forward(x)) {what}", 2**-4)
        error = (log_det - truth.log_det).abs().max().item() / x[0].numel()
        require(error <= 2**-4, f"log_det {what} is off by {error:.1e} per dimension")
        case.same_outputs(outputs(layer, x), truth, f"after autocast in {mode} mode")


def check_argument(case: Case) -> None:
    """`inverse(z, check=True)`, where there is one, gives x, and refuses NaN by ValueError."""
    layer = case.build()
    if "check" not in inspect.signature(layer.inverse).parameters:
        return
    x = case.images()
    z = layer(x)[0].detach()
    again = layer.inverse(z, check=True)
    case.same(again, x, "inverse(forward(x), check=True)", case.inverse_tolerance)
    z[1, -1, 0, 0] = torch.nan
    try:
        layer.inverse(z, check=True)
    except ValueError:
        return
    raise AssertionError("inverse(z, check=True) took a z that holds NaN")


def extra_loss(case: Case) -> None:
    """`extra_loss(x, z)`, where there is one, is (B,) in the dtype of x."""
    layer = case.build()
    if not hasattr(layer, "extra_loss"):
        return
    x = case.images()
    loss = layer.extra_loss(x, layer(x)[0])
    if not isinstance(loss, Tensor) or loss.shape != (len(x),) or loss.dtype != x.dtype:
        raise AssertionError(f"extra_loss must be ({len(x)},) in {x.dtype}, not {loss!r}")


CHECKS = (
    input_not_changed,
    outputs_may_be_changed,
    determinism,
    samples_do_not_mix,
    zero_batch,
    non_contiguous,
    channels_last,
    autocast,
    check_argument,
    extra_loss,
)
