"""The conformance kit catches what it says it catches."""

import re

import pytest
import torch
from broken_layers import BROKEN, Honest

from invconv.testing import CHECKS, check_invertible_conv

SHAPE = (3, 2, 3)
NO_COMPILER = {"torch_compile": "takes seconds"}


def failures(factory, **options):
    """Name of each failed check → its line."""
    try:
        check_invertible_conv(factory, [SHAPE], **options)
    except AssertionError as error:
        lines = str(error).splitlines()
        return {re.match(r"\[(\w+)\] shape ", line)[1]: line for line in lines}
    return {}


def test_a_layer_that_only_follows_the_contract_passes():
    check_invertible_conv(Honest, [SHAPE, (1, 1, 1), (2, 4, 1)], compiler="eager")


@pytest.mark.parametrize("layer", BROKEN, ids=lambda layer: layer.__name__)
def test_a_broken_layer_is_caught(layer):
    wanted = BROKEN[layer]
    compiled = "torch_compile" in wanted
    found = failures(layer, compiler="eager", skip={} if compiled else NO_COMPILER)
    assert set(wanted) <= set(found), "\n".join(found.values())


def test_every_check_catches_some_layer():
    assert {name for names in BROKEN.values() for name in names} == set(CHECKS)
