"""Checks of images that lie in memory in another order, and of autocast."""

import copy

import torch
from torch import Tensor

from invconv.testing.case import (
    Case,
    Gradients,
    backward,
    gradients_of,
    loss_of,
    modes,
    outputs,
    require,
)

AUTOCAST_TOLERANCE = 2**-4
"""What autocast to bfloat16, whose eps is 2⁻⁷, may lose."""


def non_contiguous(case: Case) -> None:
    """Strided, transposed, sliced and expanded images, and gradients that are expanded.

    In training mode the gradients in the images and all parameters are compared, too.
    """
    channels, height, width = case.shape
    x = case.images()
    turned = x.mT.contiguous().mT
    wide = torch.stack([x, torch.full_like(x, torch.nan)], -1).flatten(3)[..., ::2]
    inner = torch.nn.functional.pad(x, (1, 2, 2, 1, 1, 1), value=torch.nan)
    inner = inner[:, 1 : 1 + channels, 2 : 2 + height, 1 : 1 + width]
    views = {"transposed": turned, "every second column": wide, "a slice": inner}
    alike = x[:1].repeat(3, 1, 1, 1)
    pairs = (x, views), (alike, {"expanded": x[:1].expand(3, -1, -1, -1)})
    weight = case.images(seed=2)
    for layer, mode in modes(case):
        for dense, kinds in pairs:
            truth = outputs(layer, dense)
            grads = gradients_of(layer, dense, weight) if layer.training else None
            for kind, view in kinds.items():
                what = f"of {kind} images in {mode} mode"
                case.same_outputs(outputs(layer, view), truth, what)
                if grads is not None:
                    case.same_gradients(gradients_of(layer, view, weight), grads, what)
    layer = case.build()
    expanded, dense = x.clone().requires_grad_(), x.clone().requires_grad_()
    for name, call in (("z", lambda a: layer(a)[0]), ("the inverse", layer.inverse)):
        (grad,) = torch.autograd.grad(call(expanded).sum(), expanded)
        (wanted,) = torch.autograd.grad(call(dense), dense, torch.ones_like(x))
        case.same(grad, wanted, f"the gradient of {name} from an expanded gradient")


def channels_last(case: Case) -> None:
    """Images in channels_last, and a layer that was moved to it, compute the same.

    In training mode the gradients in the images and all parameters are compared, too.
    """
    x, weight = case.images(), case.images(seed=2)
    turned, turned_weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    for layer, mode in modes(case):
        truth = outputs(layer, x)
        grads = gradients_of(layer, x, weight) if layer.training else None
        what = f"of channels_last in {mode} mode"
        case.same_outputs(outputs(layer, turned), truth, what)
        if grads is not None:
            case.same_gradients(gradients_of(layer, turned, turned_weight), grads, what)
        layer.to(memory_format=torch.channels_last)
        what = f"of a channels_last layer in {mode} mode"
        for images in (x, turned):
            case.same_outputs(outputs(layer, images), truth, what)
            if grads is not None:
                case.same_gradients(gradients_of(layer, images, turned_weight), grads, what)


def autocast(case: Case) -> None:
    """Under `torch.autocast` to bfloat16, float32 and bfloat16 images come back through f.

    z, log_det and the inverse differ from those of float32 by at most 2⁻⁴ of their norm (of the
    number of dimensions, for log_det), in training mode all gradients by at most 2⁻⁴ of their
    norm together, and nothing is left behind. log_det may be rounded to the dtype of x, though it
    should not be (`invconv.conv.log_det_dtype`). Runs for float32.
    """
    if case.dtype != torch.float32:
        return
    x = case.images().bfloat16().float()
    for layer, mode in modes(case):
        truth = outputs(copy.deepcopy(layer), x)  # what the layer keeps is made under autocast
        with torch.autocast(case.device.type, dtype=torch.bfloat16):
            for images in (x, x.bfloat16()):
                z, log_det = layer(images)
                again = layer.inverse(z)
        what = f"under autocast in {mode} mode"
        case.same(z, truth.z, f"z {what}", AUTOCAST_TOLERANCE)
        case.same(again, x, f"inverse(forward(x)) {what}", AUTOCAST_TOLERANCE)
        error = (log_det - truth.log_det).abs().max().item() / x[0].numel()
        require(error <= AUTOCAST_TOLERANCE, f"log_det {what} is off by {error:.1e} per dimension")
        if layer.training:
            weight = case.images(seed=2)
            grads = gradients_of(layer, x, weight)
            for images in (x, x.bfloat16()):
                found = _gradients_under_autocast(layer, images, weight)
                case.same_gradients(found, grads, what, AUTOCAST_TOLERANCE)
        case.same_outputs(outputs(layer, x), truth, f"after autocast in {mode} mode")


def _gradients_under_autocast(layer: torch.nn.Module, x: Tensor, weight: Tensor) -> Gradients:
    """`gradients_of` with the forward pass, and not the backward pass, under autocast."""
    leaf = x.detach().requires_grad_()
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        loss = loss_of(layer, layer.inverse, leaf, weight)
    return backward(loss, leaf, layer)


CHECKS = (
    non_contiguous,
    channels_last,
    autocast,
)
