"""Checks of how a layer treats what it is given, and of what it gives away."""

import inspect

import torch
from torch import Tensor

from invconv.numerical import LinAlgError
from invconv.testing.case import (
    IMAGES,
    Case,
    Layer,
    Outputs,
    gradients_of,
    modes,
    norm,
    outputs,
    require,
    scale_parameters,
    show,
)

BATCH = 33
"""More than the images that code tends to take together: 4, 8, 16 or 32."""


def input_not_changed(case: Case) -> None:
    """forward and inverse leave x as it was."""
    for layer, mode in modes(case):
        for name in ("forward", "inverse"):
            x = case.images()
            before = x.clone()
            getattr(layer, name)(x)
            require(torch.equal(x, before), f"{name} changed its input in {mode} mode")


def outputs_may_be_changed(case: Case) -> None:
    """z, log_det and the inverse own their memory: writing to them changes nothing else."""
    for layer, mode in modes(case):
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
    for layer, mode in modes(case):
        one, other = outputs(layer, x), outputs(layer, x)
        for name, a, b in zip(one._fields, one, other, strict=True):
            require(torch.equal(a, b), f"two calls give another {name} in {mode} mode")


def samples_do_not_mix(case: Case) -> None:
    """Each image of a batch of 33 gets what it gets alone, whatever the others are.

    The first, a middle and the last one are asked for; gradients are those of three parts of the
    batch, added up.
    """
    x, weight = case.images(BATCH), case.images(BATCH, seed=2)
    for layer, mode in modes(case):
        alone = {i: outputs(layer, x[i : i + 1]) for i in (0, BATCH // 2, BATCH - 1)}
        for others in (1.0, 100.0):
            batch = others * x
            batch[list(alone)] = x[list(alone)]
            together = outputs(layer, batch)
            for i, truth in alone.items():
                found = Outputs._make(value[i : i + 1] for value in together)
                what = f"of image {i} of {BATCH} and alone, in {mode} mode"
                case.same_outputs(found, truth, what)
    layer = case.build()
    parts = [gradients_of(layer, *part) for part in zip(x.chunk(3), weight.chunk(3), strict=True)]
    added = {name: torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]}
    added[IMAGES] = torch.cat([part[IMAGES] for part in parts])
    case.same_gradients(gradients_of(layer, x, weight), added, f"of {BATCH} images and of parts")


def zero_batch(case: Case) -> None:
    """A batch of no images gives empty results, and gradients of zero."""
    x = case.images()[:0]
    for layer, mode in modes(case):
        z, log_det = layer(x)
        inverse = layer.inverse(x)
        for name, value in (("z", z), ("the inverse", inverse)):
            require(value.shape == x.shape, f"{name} has shape {show(value)} in {mode} mode")
        require(log_det.shape == (0,), f"log_det has shape {show(log_det)} in {mode} mode")
        loss = z.sum() + log_det.sum() + inverse.sum()
        if loss.requires_grad:
            loss.backward()


def check_argument(case: Case) -> None:
    """`inverse(z, check=True)`, where there is one, gives x, and refuses NaN by ValueError.

    It never returns an x that is not finite, or with an f(x) that is not z: where z is close to
    the largest number of its dtype, or parameters are huge, it raises an ArithmeticError, as
    `invconv.NumericalError` is one, unless its x is right. A ValueError will do, too, and what
    torch raises for a singular matrix.
    """
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
        pass
    else:
        raise AssertionError("inverse(z, check=True) took a z that holds NaN")
    largest = 0.99 * torch.finfo(case.dtype).max
    _is_right_or_refused(case, layer, largest * x.sign(), "a z close to the largest number")
    for factor in (10.0, 100.0, 1000.0):
        layer = case.build()
        scale_parameters(layer, factor)
        _is_right_or_refused(case, layer, x, f"parameters of {factor:.0f} times their size")


@torch.no_grad()
def _is_right_or_refused(case: Case, layer: Layer, z: Tensor, what: str) -> None:
    """Fails if `inverse(z, check=True)` returns what is no inverse of z."""
    try:
        x = layer.inverse(z, check=True)
    except (ArithmeticError, ValueError, LinAlgError):
        return
    name = f"inverse(z, check=True) for {what}"
    require(bool(x.isfinite().all()), f"{name} is not finite")
    size = z.abs().max().double()
    found, truth, shift = (
        t.double() / size for t in (layer(x)[0], z, layer(torch.zeros_like(x))[0])
    )
    for a, b, c in zip(found, truth, truth - shift, strict=True):
        case.same(a, b, f"forward of {name}", case.inverse_tolerance, norm([c]))


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
    check_argument,
    extra_loss,
)
