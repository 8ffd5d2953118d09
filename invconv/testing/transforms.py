"""Checks of a layer under torch's transformations of functions."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from invconv.testing.case import (
    Both,
    Case,
    Inverse,
    Layer,
    Outputs,
    loss_of,
    norm,
    outputs,
    require,
    scale_parameters,
    trainable,
)
from invconv.testing.values import dense_jacobian


def func_jacrev(case: Case) -> None:
    """`torch.func.jacrev` of z and log_det is autograd's; that of the inverse its inverse."""
    for training in (True, False):
        _jacrev(case, case.build().train(training))


def _jacrev(case: Case, layer: Layer) -> None:
    image = case.images(1)[0]
    outputs(layer, image[None])
    jacobian = dense_jacobian(layer, image)
    found = torch.func.jacrev(lambda a: layer(a[None])[0][0])(image).reshape_as(jacobian)
    case.same(found, jacobian, "the Jacobian of z by torch.func.jacrev")

    slope = torch.autograd.functional.jacobian(lambda a: layer(a[None])[1].sum(), image)
    found = torch.func.jacrev(lambda a: layer(a[None])[1].sum())(image)
    case.same(found, slope, "the gradient of log_det by torch.func.jacrev", scale=1.0)
    with torch.no_grad():
        z = layer(image[None])[0][0]
    found = torch.func.jacrev(lambda a: layer.inverse(a[None])[0])(z).reshape_as(jacobian)
    identity = torch.eye(len(jacobian)).to(jacobian)
    what = "∂x/∂z · ∂z/∂x, by torch.func.jacrev"
    case.same(found @ jacobian, identity, what, case.inverse_tolerance)


def func_vmap(case: Case) -> None:
    """`torch.vmap` over images is a batch; over two sets of parameters it is two layers."""
    layers = [case.build().eval(), case.build().eval()]
    x = case.images()
    with torch.no_grad():
        for parameter in trainable(layers[1]).values():
            parameter.mul_(0.9)
        truth = outputs(layers[0], x)
        z, log_det = torch.vmap(lambda a: layers[0](a[None]))(x)
        again = torch.vmap(lambda a: layers[0].inverse(a[None]))(x)
        found = Outputs(z[:, 0], log_det[:, 0], again[:, 0])
        case.same_outputs(found, truth, "by torch.vmap over images")
        both = [trainable(layer) for layer in layers]
        if not both[0]:
            return
        state = {name: torch.stack([part[name] for part in both]) for name in both[0]}

        def forward(values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            return torch.func.functional_call(layers[0], values, x)

        def inverse(values: dict[str, Tensor]) -> Tensor:
            named = {f"layer.{name}": value for name, value in values.items()}
            return torch.func.functional_call(Inverse(layers[0]), named, x)

        (z, log_det), again = torch.vmap(forward)(state), torch.vmap(inverse)(state)
        for i, layer in enumerate(layers):
            found = Outputs(z[i], log_det[i], again[i])
            case.same_outputs(found, outputs(layer, x), "by torch.vmap over parameters")


def torch_compile(case: Case) -> None:
    """A compiled forward and inverse compute the same, gradients included, and in eval mode.

    There also after the parameters were changed in place. Runs at the largest shape.
    """
    if not case.largest:
        return
    x, weight = case.images(), case.images(seed=2)
    layer = case.build()
    names, parameters = ["x", *trainable(layer)], list(trainable(layer).values())

    def gradients(forward: Layer, inverse: Layer) -> tuple[Tensor | None, ...]:
        leaf = x.clone().requires_grad_()
        loss = loss_of(forward, inverse, leaf, weight)
        return torch.autograd.grad(loss, (leaf, *parameters), allow_unused=True)

    def compiled(function: Layer) -> Layer:
        return torch.compile(function, backend=case.compiler)

    torch._dynamo.reset()
    truth = gradients(layer, layer.inverse)
    found = gradients(compiled(layer), compiled(layer.inverse))
    for name, a, b in zip(names, found, truth, strict=True):
        require((a is None) == (b is None), f"compiled, {name} has a gradient or has none")
        if a is not None and b is not None:
            case.same(a, b, f"the gradient of {name}, compiled", scale=norm(truth))
    layer.eval()
    now = outputs(layer, x)
    forward, inverse = compiled(layer), compiled(layer.inverse)
    with torch.no_grad():
        found = Outputs._make((*forward(x), inverse(x)))
        case.same_outputs(found, now, "compiled, in eval mode")
        scale_parameters(layer, 0.9)
        now = outputs(case.copy_of(layer), x)
        what = "compiled, in eval mode, after an in-place change of the parameters"
        case.same_outputs(Outputs._make((*forward(x), inverse(x))), now, what)
    torch._dynamo.reset()


def trace(module: nn.Module, example: Tensor) -> Layer:
    """What `torch.jit.trace` records, not compared with the module by itself."""
    return torch.jit.trace(module, example, check_trace=False)


def export(module: nn.Module, example: Tensor) -> Layer:
    """What `torch.export` makes of it for batches of 1 to 64."""
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    return torch.export.export(module, (example,), dynamic_shapes=(batch,)).module()


def traced_with_another_batch(case: Case) -> None:
    """`torch.jit.trace` with two images computes five, and one, as the layer does.

    An inverse to a tolerance cannot be recorded: the layer may refuse it in one sentence.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _recorded(case, trace, "traced")


def exported_with_any_batch(case: Case) -> None:
    """`torch.export` with a dynamic batch computes one and five images as the layer does.

    Runs at the largest shape. An inverse to a tolerance may be refused, as for a trace.
    """
    if case.largest:
        _recorded(case, export, "exported")


def _recorded(case: Case, record: Callable[[nn.Module, Tensor], Layer], how: str) -> None:
    layer = case.build().eval()
    module: nn.Module = Both(layer)
    with torch.no_grad():
        try:
            recorded = record(module, case.images(2))
        except Exception:
            if case.exact:
                raise
            module = layer
            recorded = record(module, case.images(2))
        for batch in (1, 5):
            found, truth = (f(case.images(batch)) for f in (recorded, module))
            what = f"{how} with 2 images, of {batch}"
            for name, a, b in zip(Outputs._fields, found, truth, strict=False):
                case.same(a, b, f"{name} {what}", case.inverse_tolerance, scale=norm([b]) or 1.0)


CHECKS = (
    func_jacrev,
    func_vmap,
    torch_compile,
    traced_with_another_batch,
    exported_with_any_batch,
)
