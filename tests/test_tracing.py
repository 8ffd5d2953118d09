"""`torch.jit.trace` records what layers compute, for other images too."""

import pytest
import torch
from torch import nn

from invconv import available, build

pytestmark = pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning"
)


class Outputs(nn.Module):
    """z, log_det and the inverse of x."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return (*self.layer(x), self.layer.inverse(x))


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("name", available())
def test_a_traced_layer_computes(name, gradients, poisoned_empty):
    layer = Outputs(build(name, (4, 5, 6)).eval())
    x, other = torch.randn(2, 4, 5, 6), torch.randn(2, 4, 5, 6)
    with torch.set_grad_enabled(gradients):
        layer(x)
        traced = torch.jit.trace(layer, x, check_trace=not gradients)  # it checks without
        torch.testing.assert_close(traced(other), layer(other))
    if gradients:
        parameters = tuple(layer.parameters())
        found, truth = (
            torch.autograd.grad(sum(y.square().sum() for y in f(other)), parameters)
            for f in (traced, layer)
        )
        torch.testing.assert_close(found, truth, rtol=1e-3, atol=1e-3)
