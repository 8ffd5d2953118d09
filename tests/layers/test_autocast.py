"""Half precision, by autocast and of whole layers."""

import pytest
import torch

from invconv import CInC, Emerging, available, build

HALF = torch.bfloat16


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", available())
def test_log_det_is_not_rounded_where_x_is(name, training):
    torch.manual_seed(0)
    layer = build(name, (4, 6, 5)).train(training)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        x = torch.randn(2, 4, 6, 5).to(HALF)
        truth = layer(x.float())[1]
        with torch.autocast("cpu", HALF):
            found = layer(x)[1]
            assert layer(x.float())[1].dtype == torch.float32
    assert found.dtype == torch.float32
    if layer.constant_log_det:
        torch.testing.assert_close(found, truth, rtol=1e-6, atol=1e-6)
    assert layer.to(HALF)(x)[1].dtype == HALF
    with torch.autocast("cpu", HALF):
        assert layer(x)[1].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    "make", [lambda: CInC(4, bias=True), lambda: Emerging(4, pointwise=True, bias=True)]
)
def test_a_bias_and_layers_of_every_precision(make, dtype):
    """What is computed in float32 is not written over half precision."""
    layer = make().to(dtype).eval()
    z = torch.randn(2, 4, 6, 5).to(dtype)
    with torch.no_grad():
        truth = layer.double().inverse(z.double())
        layer.to(dtype)
        with torch.autocast("cpu", HALF):
            found = layer.inverse(z)
            again = layer(found)[0]
    torch.testing.assert_close(found.double(), truth, rtol=0.05, atol=0.05)
    torch.testing.assert_close(again.double(), z.double(), rtol=0.05, atol=0.05)
