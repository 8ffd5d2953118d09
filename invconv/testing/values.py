"""Checks of what a layer computes: shapes, log_det, round trips, precision."""

from dataclasses import replace

import torch
from torch import Tensor

from invconv.numerical import allowed_residual, relative_errors
from invconv.testing.case import Case, Layer, modes, norm, require, show, trainable

PRECISION_FLOOR = 8.0
"""Errors of so many units in the last place are no error; see `float32_error`."""


def class_facts(case: Case) -> None:
    """`constant_log_det`, where declared, is true, the other facts are well spelled; repr works.

    What `exact` says is taken for true by all that looks at an inverse.
    """
    layer = case.build()
    require(type(layer).__name__ in repr(layer), "repr(layer) does not name its class")
    for fact in ("exact", "constant_log_det"):
        value = getattr(layer, fact, True)
        require(isinstance(value, bool), f"{fact} must be True or False, not {value!r}")
    direction = getattr(layer, "solve_direction", "none")
    known = ("forward", "inverse", "none")
    require(direction in known, f"solve_direction must be one of {known}, not {direction!r}")
    if getattr(layer, "constant_log_det", False):
        one, other = layer(case.images())[1], layer(3 * case.images(seed=2))[1]
        case.same_log_det(other, one, "of other images, although constant_log_det is True")


def shapes(case: Case) -> None:
    """z and the inverse have the shape, dtype and device of x and are finite, for B = 1 and 3."""
    layer = case.build()
    for batch in (1, 3):
        x = case.images(batch)
        result = layer(x)
        require(
            isinstance(result, tuple) and len(result) == 2,
            f"forward must return (z, log_det), not {type(result).__name__}",
        )
        for name, value in (("z", result[0]), ("the inverse", layer.inverse(x))):
            require(isinstance(value, Tensor), f"{name} is {type(value).__name__}, not a tensor")
            require(value.shape == x.shape, f"{name} has shape {show(value)}, not {show(x)}")
            require(
                value.dtype == x.dtype and value.device == x.device,
                f"{name} is {value.dtype} on {value.device}, x {x.dtype} on {x.device}",
            )
            require(bool(value.isfinite().all()), f"{name} holds NaN or infinity")


def log_det_shape(case: Case) -> None:
    """log_det is a (B,) tensor on the device and in the dtype of x, for B = 1 and 3."""
    layer = case.build()
    for batch in (1, 3):
        x = case.images(batch)
        log_det = layer(x)[1]
        if not isinstance(log_det, Tensor):
            raise AssertionError(
                f"log_det is {type(log_det).__name__}, not a tensor of ({batch},)"
            )
        require(
            log_det.shape == (batch,), f"log_det has shape {show(log_det)}, not ({batch},) of B"
        )
        require(
            log_det.dtype == x.dtype and log_det.device == x.device,
            f"log_det is {log_det.dtype} on {log_det.device}, x {x.dtype} on {x.device}",
        )


def log_det_dense(case: Case) -> None:
    """log_det is log|det| of the dense Jacobian, by slogdet; errors count per dimension.

    For three layers, the last two with determinants of both signs if they are of a free matrix.
    """
    layers = case.build(), case.build(seed=1), _reflected(case.build(seed=1))
    for layer, batch in zip(layers, (2, 1, 1), strict=True):
        x = case.images(batch)
        found = torch.as_tensor(layer(x)[1]).expand(batch)
        for image, value in zip(x, found.tolist(), strict=True):
            jacobian = dense_jacobian(layer, image).double()
            truth = torch.linalg.slogdet(jacobian).logabsdet.item()
            require(
                abs(value - truth) <= case.tolerance * image.numel(),
                f"log_det is {value:.9g}, slogdet of the Jacobian {truth:.9g}",
            )


@torch.no_grad()
def _reflected(layer: Layer) -> Layer:
    """The layer with the first row of every parameter times −1."""
    for parameter in trainable(layer).values():
        (parameter[:1] if parameter.ndim else parameter).neg_()
    return layer


def inverse_of_forward(case: Case) -> None:
    """inverse(forward(x)) is x, in training with gradients and in eval mode without."""
    x = case.images()
    for layer, mode in modes(case):
        again = layer.inverse(layer(x)[0])
        case.same(again, x, f"inverse(forward(x)) in {mode} mode", case.inverse_tolerance)


def forward_of_inverse(case: Case) -> None:
    """forward(inverse(z)) is z, in training with gradients and in eval mode without."""
    z = case.images()
    for layer, mode in modes(case):
        again = layer(layer.inverse(z))[0]
        case.same(again, z, f"forward(inverse(z)) in {mode} mode", case.inverse_tolerance)


def tolerance_met(case: Case) -> None:
    """An inverse that is not exact states its ``tolerance``, and meets it in every image.

    That is ‖f(f⁻¹(z)) − z‖ / ‖z‖; rounding may add eps^(2/3).
    """
    if case.exact:
        return
    z, stated = case.images(seed=4), case.stated_tolerance
    require(
        0 < stated < 1,
        f"exact is False, and tolerance must say how far its inverse may be off, not {stated}",
    )
    for layer, mode in modes(case):
        errors = relative_errors(layer(layer.inverse(z))[0].detach(), z)
        require(
            bool((errors <= allowed_residual(z.dtype, stated)).all()),
            f"in {mode} mode, the residual of an image is {errors.max():.1e}, and the layer "
            f"states {stated:.1e}",
        )


def float64_kept(case: Case) -> None:
    """What float32 cannot hold of a float64 image reaches z and the inverse."""
    if case.dtype != torch.float64:
        return
    layer = case.build()
    x = case.images()
    with torch.no_grad():
        for name, call in (("z", lambda a: layer(a)[0]), ("the inverse", layer.inverse)):
            value = call(x)
            require(
                not torch.equal(value, value.float().double()),
                f"{name} of a float64 image holds float32 numbers only",
            )
            require(
                not torch.equal(value, call(x.float().double())),
                f"{name} is the same for x and for x rounded to float32",
            )


def float32_error(case: Case) -> None:
    """In float32, at most twice the error of the plainest float32 computation of the same map.

    The map at one image x is z = J·x + c, with J the dense Jacobian in float64 and c = f(x) − J·x
    (for a layer that is not affine, its linearization). The plainest computation rounds J and c
    to float32, multiplies for z, and finds x from z by `torch.linalg.solve`, a dense LU, and
    log_det by `torch.linalg.slogdet`, all in float32. Errors, in training and in eval mode, are
    ‖·‖₂ over four images against the layer in float64 with the same weights; below 8 eps of the
    truth's norm (of the number of dimensions, for log_det) there is nothing to compare.
    """
    if case.dtype != torch.float32 or not case.exact:
        return
    double = replace(case, dtype=torch.float64).copy_of(case.build())
    x = case.images(4)
    with torch.no_grad():
        true_z, true_log_det = double(x.double())
    plain_z, plain_x = torch.empty_like(x), torch.empty_like(x)
    plain_log_det = torch.empty_like(true_log_det)
    for i, image in enumerate(x):
        jacobian = dense_jacobian(double, image.double())
        rounded = jacobian.float()
        shift = (true_z[i].flatten() - jacobian @ image.double().flatten()).float()
        product = rounded @ image.flatten()
        plain_z[i] = (product + shift).view(case.shape)
        plain_x[i] = torch.linalg.solve(rounded, plain_z[i].flatten() - shift).view(case.shape)
        plain_log_det[i] = torch.linalg.slogdet(rounded).logabsdet
    dimensions = torch.full_like(true_log_det, x[0].numel())
    for layer, mode in modes(case):
        with torch.no_grad():
            z, log_det = layer(x)
            again = layer.inverse(z)
        for name, found, plain, truth, scale in (
            ("z", z, plain_z, true_z, true_z),
            ("inverse(forward(x))", again, plain_x, x.double(), x),
            ("log_det", log_det, plain_log_det, true_log_det, dimensions),
        ):
            floor = PRECISION_FLOOR * torch.finfo(torch.float32).eps * norm([scale])
            error, allowed = norm([found - truth]), 2 * norm([plain - truth]) + floor
            require(
                error <= allowed,
                f"in {mode} mode, the error of {name} is {error:.1e}, more than {allowed:.1e}: "
                "twice that of the dense computation",
            )


def dense_jacobian(layer: Layer, image: Tensor) -> Tensor:
    """∂z/∂x of one image, (C·H·W, C·H·W)."""
    jacobian = torch.autograd.functional.jacobian(lambda a: layer(a[None])[0][0], image)
    return jacobian.reshape(image.numel(), -1)


CHECKS = (
    class_facts,
    shapes,
    log_det_shape,
    log_det_dense,
    inverse_of_forward,
    forward_of_inverse,
    tolerance_met,
    float64_kept,
    float32_error,
)
