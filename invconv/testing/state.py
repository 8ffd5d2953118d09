"""Checks of what a layer keeps: its state, its copies, and what it caches for sampling."""

import copy
import io
import pickle
from dataclasses import replace

import torch

from invconv.testing.case import Case, Layer, outputs, require, scale_parameters, trainable


def forward_changes_no_state(case: Case) -> None:
    """forward and inverse leave the state_dict as it was, in training mode, too."""
    layer = case.build()
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    for _ in range(2):
        layer.inverse(layer(case.images())[0])
    after = layer.state_dict()
    require(after.keys() == before.keys(), "a call changed the names in the state_dict")
    for name, value in before.items():
        require(torch.equal(after[name], value), f"a call changed {name}")


def initialize(case: Case) -> None:
    """After `initialize(x)`, where there is one, a new layer with the state_dict is the same."""
    layer = case.start()
    if not hasattr(layer, "initialize"):
        return
    x = case.images(8)
    before = x.clone()
    layer.initialize(x)
    require(torch.equal(x, before), "initialize changed its input")
    found = outputs(layer, x)
    again = layer.inverse(found.z)
    case.same(again, x, "inverse(forward(x)) after initialize", case.inverse_tolerance)
    case.same_outputs(
        found, outputs(case.copy_of(layer), x), "after initialize, against a loaded state_dict"
    )


def state_dict_round_trip(case: Case) -> None:
    """A new layer computes the same after `torch.save`, `torch.load` and `load_state_dict`."""
    layer = case.build().eval()
    x = case.images()
    truth = outputs(layer, x)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = case.build(seed=2).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    case.same_outputs(outputs(other, x), truth, "of a layer that loaded the state_dict")


def pickling(case: Case) -> None:
    """A pickled layer computes the same, and its pickle does not grow by what is cached."""
    layer = case.build().eval()
    x = case.images()
    before = len(pickle.dumps(layer))
    truth = outputs(layer, x)
    data = pickle.dumps(layer)
    require(
        len(data) <= before,
        f"the pickle grew from {before} to {len(data)} bytes by sampling: it holds what is cached",
    )
    case.same_outputs(outputs(pickle.loads(data), x), truth, "of an unpickled layer")


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
        what = "a fused optimiser's" if fused else "an optimiser's"
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
    forward_changes_no_state,
    initialize,
    state_dict_round_trip,
    pickling,
    cache_after_train,
    cache_after_load_state_dict,
    cache_after_to,
    cache_after_in_place_change,
    cache_after_reused_memory,
    cache_after_deepcopy,
    another_size,
    inference_mode,
)
