"""Checks of what a layer caches for sampling: it is never out of date."""

import copy
from dataclasses import replace
from tempfile import TemporaryDirectory

import torch

from invconv.testing.case import Case, Layer, outputs, require, scale_parameters, trainable


def _used(case: Case) -> Layer:
    """A layer in eval mode that has filled its cache."""
    layer = case.build().eval()
    outputs(layer, case.images())
    outputs(layer, case.images())
    return layer


def _is_current(case: Case, layer: Layer, when: str) -> None:
    """Fails unless ``layer`` in eval mode computes what a new one with its state_dict does."""
    x = case.images()
    truth = outputs(case.copy_of(layer), x)
    if layer.training:  # eval() itself may drop what is cached
        layer.eval()
    for _ in range(2):
        case.same_outputs(outputs(layer, x), truth, f"in eval mode, {when}")


def cache_after_train(case: Case) -> None:
    """Eval mode is current after a step of training in between, or in eval mode itself."""
    layer = _used(case)
    for training, fused in ((True, False), (False, False), (True, True)):
        if training:
            layer.train()
        z, log_det = layer(case.images())
        if not trainable(layer):
            return
        try:  # a fused step does not raise the versions of what it changes
            optimizer = torch.optim.SGD(layer.parameters(), lr=0.01, fused=fused)
        except RuntimeError:  # this device has none
            return
        (z.square().mean() - log_det.mean()).backward()
        optimizer.step()
        what = "a fused optimizer's" if fused else "an optimizer's"
        mode = "train()" if training else "eval()"
        _is_current(case, layer, f"after {what} step in {mode}")


def cache_after_load_state_dict(case: Case) -> None:
    """Eval mode is current after `load_state_dict`, with and without ``assign``."""
    for assign in (False, True):
        layer = _used(case)
        layer.load_state_dict(case.build(seed=2).state_dict(), assign=assign)
        _is_current(case, layer, f"after load_state_dict(assign={assign})")


def cache_after_to(case: Case) -> None:
    """Eval mode is current, and in the new dtype, after `.to()` another dtype and back.

    On another device than the CPU also after `.to("cpu")` and back.
    """
    layer = _used(case)
    other = torch.float32 if case.dtype == torch.float64 else torch.float64
    places = [replace(case, dtype=other), case]
    if case.device.type != "cpu":
        places += [replace(case, device=torch.device("cpu")), case]
    for place in places:
        layer.to(place.device, place.dtype)
        _is_current(place, layer, f"after .to({str(place.device)!r}, {place.dtype})")


def cache_after_in_place_change(case: Case) -> None:
    """Eval mode is current after parameters were changed in place under `torch.no_grad`."""
    layer = _used(case)
    scale_parameters(layer, 0.9)
    _is_current(case, layer, "after an in-place change of the parameters")


def cache_after_reused_memory(case: Case) -> None:
    """Eval mode is current when parameters' memory is replaced, even by memory used before."""
    layer = _used(case)
    parameters = list(trainable(layer).values())
    if not parameters:
        return
    vector = torch.nn.utils.parameters_to_vector(parameters).detach()
    for factor in (1.0, 0.95, 0.9, 0.85):
        torch.nn.utils.vector_to_parameters(factor * vector, parameters)
        _is_current(case, layer, "after vector_to_parameters")


def cache_after_a_write_from_outside(case: Case) -> None:
    """Eval mode is current after writes that torch does not count.

    Through ``parameter.data``, and on a CPU through NumPy. On another device after
    ``layer.refresh()``, where there is one.
    """
    layer = _used(case)
    if case.device.type != "cpu" and not hasattr(layer, "refresh"):
        return
    for name in ("data", "numpy"):
        if name == "numpy" and case.device.type != "cpu":
            continue
        for parameter in trainable(layer).values():
            if name == "data":
                parameter.data.mul_(0.9)
            else:  # as bytes: NumPy has no bfloat16
                memory, new = (
                    p.detach().flatten().view(torch.uint8).numpy()
                    for p in (parameter, 0.9 * parameter)
                )
                memory[...] = new
        if case.device.type != "cpu":
            layer.refresh()
        _is_current(case, layer, f"after a write through parameter.{name}")


def cache_in_shared_memory(case: Case) -> None:
    """Eval mode is current after another process changed parameters in shared memory (CPU).

    The other process is a second view of the same memory at another address.
    """
    if case.device.type != "cpu":
        return
    layer = case.build().eval()
    others = []
    with TemporaryDirectory() as folder:
        for i, parameter in enumerate(trainable(layer).values()):
            ours, other = (
                torch.from_file(f"{folder}/{i}", True, parameter.numel(), dtype=case.dtype)
                for _ in range(2)
            )
            ours.copy_(parameter.detach().flatten())
            parameter.data = ours.view_as(parameter)
            others.append(other)
        for _ in range(2):
            outputs(layer, case.images())
        for other in others:
            other.mul_(0.9)
        _is_current(case, layer, "after another process changed shared parameters")


def cache_after_deepcopy(case: Case) -> None:
    """A deepcopy computes the same, and neither sees what becomes of the other."""
    layer = _used(case)
    x = case.images()
    truth = outputs(layer, x)
    other = copy.deepcopy(layer)
    case.same_outputs(outputs(other, x), truth, "of a deepcopy")
    scale_parameters(layer, 0.9)
    case.same_outputs(outputs(other, x), truth, "of a deepcopy whose original was changed")
    _is_current(case, layer, "after a deepcopy and an in-place change")
    scale_parameters(other, 0.8)
    _is_current(case, other, "of a deepcopy that was changed")


def another_size(case: Case) -> None:
    """In eval mode, larger images and then those of before get what a new layer gives them.

    (C, H + 1, W + 1), unless the layer refuses images of another size than it was built for.
    """
    channels, height, width = case.shape
    larger = replace(case, shape=(channels, height + 1, width + 1)).images()
    layer = _used(case)
    fresh = case.copy_of(layer)
    try:
        truth = outputs(fresh, larger)
    except Exception:
        return
    for _ in range(2):
        case.same_outputs(outputs(layer, larger), truth, "of larger images in eval mode")
    _is_current(case, layer, "after larger images")


def inference_mode(case: Case) -> None:
    """`torch.inference_mode` computes the same, and leaves nothing behind that breaks training."""
    layer = case.build().eval()
    x = case.images()
    truth = outputs(case.copy_of(layer), x)
    with torch.inference_mode():
        case.same_outputs(outputs(layer, x), truth, "under inference_mode")
    after = outputs(layer, x)
    case.same_outputs(after, truth, "after inference_mode")
    for name, value in zip(after._fields, after, strict=True):
        require(not value.is_inference(), f"{name} is an inference tensor outside of that mode")
    x.requires_grad_()
    (layer(x)[0] + layer.inverse(x)).sum().backward()


CHECKS = (
    cache_after_train,
    cache_after_load_state_dict,
    cache_after_to,
    cache_after_in_place_change,
    cache_after_reused_memory,
    cache_after_a_write_from_outside,
    cache_in_shared_memory,
    cache_after_deepcopy,
    another_size,
    inference_mode,
)
