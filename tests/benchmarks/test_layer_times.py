"""Every layer: forward, inverse, the gradient through the inverse, and log_det, over n and k.

Each is verified before it is timed. `log_det` is timed in training mode, where nothing is cached:
by the layer's own method where it has one, and by its forward, which is the only way to it
elsewhere.
"""

import copy
import inspect
from functools import lru_cache

import pytest
import torch

from invconv import available, build
from invconv.conv import layer_class
from invconv.numerical import relative_error
from invconv.testing.values import dense_jacobian

CHANNELS, BATCH = 12, 100
OPERATIONS = ("forward", "inverse", "inverse_backward", "log_det")
QUICK = [(8, 3), (16, 3), (32, 3), (16, 5), (16, 7)]
FULL = [(n, k) for n in (8, 16, 32, 64, 128) for k in (3, 5, 7) if (n, k) not in QUICK]


def options(name, k):
    """The options that give a layer the kernel size k; None if it has no kernel."""
    known = inspect.signature(layer_class(name)).parameters
    if "kernel_size" not in known:
        return None
    return {"kernel_size": ((k + 1) // 2, k) if name == "macow" else k}


SLOW = {"macow": (32, 3)}
"""Layer → the largest image and kernel that it is timed on without --full."""
LARGEST = {"snf": 16}
"""Layer → the largest image that it is timed on: eval mode makes a dense matrix."""


def cases():
    """(layer, n, k), k None where the layer has no kernel."""
    for name in available():
        for n, k in (*QUICK, *FULL):
            if options(name, k) is None and k > 3:
                continue
            if n > LARGEST.get(name, n):
                continue
            most = SLOW.get(name, (n, k))
            quick = (n, k) in QUICK and n <= most[0] and k <= most[1]
            size = k if options(name, k) else None
            yield pytest.param(name, n, size, marks=() if quick else pytest.mark.full)


@pytest.mark.benchmark(max_time=0.2, min_rounds=5, warmup=True, warmup_iterations=2)
@pytest.mark.parametrize(("layer", "n", "k"), list(cases()))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_layer(timed, device, operation, layer, n, k):
    if operation == "log_det" and layer == "snf":
        pytest.skip("training mode computes no log_det")
    module = build(layer, (CHANNELS, n, n), **(options(layer, k) or {})).to(device)
    x = torch.randn(BATCH, CHANNELS, n, n, device=device)
    call, residual = CALLS[operation](module, x)
    if operation == "log_det":
        residual = max(residual, error_of_log_det(layer, k))
    with torch.set_grad_enabled(operation == "inverse_backward"):
        labels = {"operation": operation, "layer": layer, "n": n, "k": k}
        timed(call, residual, module.solver(device), channels=CHANNELS, batch=BATCH, **labels)


@torch.no_grad()
def forward(module, x):
    module.eval()
    return lambda: module(x), relative_error(module.inverse(module(x)[0]), x)


@torch.no_grad()
def inverse(module, x):
    module.eval()
    z = module(x)[0]
    return lambda: module.inverse(z), relative_error(module.inverse(z), x)


def inverse_backward(module, x):
    """The gradient in z and the parameters; carried back through forward it is what came in."""
    x.requires_grad_()
    z = module(x)[0]
    gradient = torch.randn_like(z)
    leaf = z.detach().requires_grad_()
    again = module.inverse(leaf)
    inputs = [leaf, *(p for p in module.parameters() if p.requires_grad)]

    def call():
        return torch.autograd.grad(again, inputs, gradient, retain_graph=True, allow_unused=True)

    (back,) = torch.autograd.grad(z, x, call()[0])
    return call, relative_error(back, gradient)


@torch.no_grad()
def log_det(module, x):
    module.train()
    exact = copy.deepcopy(module).double()(x.double())[1]
    own = getattr(module, "log_det", None)
    call = (lambda: own(x)) if own else (lambda: module(x)[1])
    return call, relative_error(call(), exact)


CALLS = {
    "forward": forward,
    "inverse": inverse,
    "inverse_backward": inverse_backward,
    "log_det": log_det,
}


@lru_cache
def error_of_log_det(name, k, n=3):
    """The relative error of log_det against the dense Jacobian of a tiny image in float64."""
    module = build(name, (4, n, n), **(options(name, k) or {})).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    image = torch.randn(4, n, n, dtype=torch.float64)
    truth = torch.linalg.slogdet(dense_jacobian(module, image)).logabsdet
    error = (module(image[None])[1][0] - truth).abs() / image.numel()
    return error.item()
