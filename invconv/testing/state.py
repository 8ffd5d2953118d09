"""Checks of a layer's state, on disk and on other devices."""

import io
import pickle

import torch

from invconv.testing.case import (
    Case,
    Outputs,
    outputs,
    require,
    show,
)


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


def built_on_meta(case: Case) -> None:
    """A layer built on the meta device gives shapes, and computes once its state is loaded.

    After `to_empty`, whose memory may hold anything, and with ``load_state_dict(assign=True)``.
    """
    layer, x = case.build().eval(), case.images()
    truth, state = outputs(layer, x), layer.state_dict()
    for assign in (False, True):
        with torch.device("meta"):
            other = case.factory(case.shape).to(case.dtype).eval()
        for name, value, right in zip(
            Outputs._fields, outputs(other, x.to("meta")), truth, strict=True
        ):
            require(
                value.shape == right.shape, f"{name} on meta is {show(value)}, not {show(right)}"
            )
        if not assign:
            other.to_empty(device=case.device)
            for tensor in (*other.parameters(), *other.buffers()):
                tensor.detach().fill_(torch.nan if tensor.is_floating_point() else 1)
        other.load_state_dict(state, assign=assign)
        when = "load_state_dict(assign=True)" if assign else "to_empty() and load_state_dict()"
        case.same_outputs(outputs(other, x), truth, f"of a layer built on meta, after {when}")


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


CHECKS = (
    forward_changes_no_state,
    initialize,
    state_dict_round_trip,
    built_on_meta,
    pickling,
)
