"""What is particular to a layer or to the registry; the contract is in tests/contract."""

import pytest
import torch
from torch import nn

import invconv.flows
from invconv import (
    FInC,
    Glow1x1,
    InvertibleConv,
    NumericalError,
    build,
    register,
)
from invconv.conv import _REGISTRY, available, layer_class


def test_what_the_classes_declare():
    for name in available():
        layer = build(name, (4, 3, 2))
        assert layer.exact == (name not in ("snf", "mintnet"))
        assert layer.constant_log_det == (name not in ("macow", "mintnet"))


def test_layers_are_built_in_the_default_dtype(float64):
    for name in available():
        assert {p.dtype for p in build(name, (4, 3, 2)).parameters()} == {torch.float64}


def test_eval_mode_computes_the_inverse_matrix_once(monkeypatch):
    layer = Glow1x1(4).eval()
    calls = []
    compute = layer._inverse_matrix
    monkeypatch.setattr(layer, "_inverse_matrix", lambda: calls.append(1) or compute())
    z = torch.randn(2, 4, 3, 3)
    with torch.no_grad():
        layer.inverse(z)
        layer.inverse(z)
    assert len(calls) == 1
    layer.train()
    layer.inverse(z)
    layer.inverse(z)
    assert len(calls) == 3


@pytest.mark.parametrize("parametrization", ["plu", "plain"])
def test_eval_mode_computes_glows_determinant_once(parametrization, float64, monkeypatch):
    layer = Glow1x1(4, parametrization).eval()
    calls = []
    compute = layer._log_abs_det
    monkeypatch.setattr(layer, "_log_abs_det", lambda: calls.append(1) or compute())
    x = torch.randn(2, 4, 3, 5)

    def check():
        truth = 15 * torch.linalg.slogdet(layer.matrix()).logabsdet
        torch.testing.assert_close(layer(x)[1], truth.repeat(2))

    with torch.no_grad():
        check()
        check()
        assert len(calls) == 1
        layer.weight.add_(0.3 * torch.randn(4, 4))
        check()
        check()
        assert len(calls) == 2
        layer.train()
        layer.weight.mul_(1.5)
        check()
        check()
        assert len(calls) == 4
        layer.eval()
        check()
    layer(x)[1].sum().backward()
    assert layer.weight.grad.any()


def test_no_optimiser_breaks_the_constraint(float64):
    """Weight decay moves every stored number, the released code's masked ones included."""
    layer = FInC(8, 3)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01, weight_decay=10.0)
    x = torch.randn(2, 8, 5, 4)
    for _ in range(5):
        optimizer.zero_grad()
        layer(x)[0].square().mean().backward()
        optimizer.step()
    last = layer.triangular_weight()[:, :, -1, -1].view(4, 2, 2)
    torch.testing.assert_close(last.triu(), torch.eye(2).expand(4, 2, 2))
    torch.testing.assert_close(layer.inverse(layer(x)[0]), x)


def test_the_published_algorithm_is_another_method_for_the_same_inverse(float64):
    layer = FInC(8, 3, inverse_method="published")
    assert layer.solver(torch.device("cpu")) == "diagonal_channel"
    z = torch.randn(3, 8, 5, 4)
    fast = FInC(8, 3)
    fast.load_state_dict(layer.state_dict())
    assert fast.solver(torch.device("cpu")) == "compiled"
    torch.testing.assert_close(layer.inverse(z, check=True), fast.inverse(z))


def test_glow_starts_as_a_rotation(float64):
    for parametrization in ("plu", "plain"):
        matrix = Glow1x1(6, parametrization).matrix()
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(6))
        x = torch.randn(2, 6, 2, 3)
        torch.testing.assert_close(
            Glow1x1(6, parametrization)(x)[1], torch.zeros(2), rtol=0, atol=1e-12
        )


def test_parameter_counts():
    assert sum(p.numel() for p in FInC(12, 3).parameters()) == 4 * 3**2 * 3**2
    for parametrization in ("plu", "plain"):
        assert sum(p.numel() for p in Glow1x1(7, parametrization).parameters()) == 49


def message(error, call, *args, **kwargs):
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_bad_input_gets_one_sentence():
    assert "multiple of 4, not 6" in message(ValueError, FInC, 6)
    assert "at least 1, not 0" in message(ValueError, FInC, 8, kernel_size=0)
    assert "must be an int" in message(TypeError, FInC, 8, kernel_size=2.5)
    assert "known: plu, plain" in message(ValueError, Glow1x1, 4, "qr")
    assert "known: published, auto" in message(ValueError, FInC, 8, inverse_method="magic")
    assert "channels must be an int" in message(ValueError, Glow1x1, 0)
    assert "finc, glow" in message(ValueError, build, "fink", (4, 2, 2))
    for shape in ((4, 2), 4, "abc", (4.9, 2, 2), (4, 0, 2)):
        assert "shape must be (C, H, W)" in message(ValueError, build, "finc", shape)
    text = message(TypeError, build, "finc", (4, 2, 2), kernel=3)
    assert "no option 'kernel'" in text
    assert "known: kernel_size, inverse_method" in text
    layer = FInC(8)
    for call in (layer, layer.inverse):
        assert "rank 4" in message(ValueError, call, torch.zeros(8, 4, 4))
        assert "must have 8 channels" in message(ValueError, call, torch.zeros(1, 4, 4, 4))
        assert "floating-point" in message(
            TypeError, call, torch.zeros(1, 8, 4, 4, dtype=torch.int64)
        )
    for other in (layer, Glow1x1(8)):
        z = torch.zeros(1, 8, 4, 4)
        z[0, 3, 2, 1] = torch.nan
        assert "float64 but the layer is torch.float32" in message(TypeError, other, z.double())
        assert "1 of 128 values" in message(ValueError, other.inverse, z, check=True)


def test_check_refuses_a_matrix_that_has_no_inverse():
    layer = Glow1x1(3, "plain")
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3))
        layer.weight[2, 2] = 1e-30
        layer.weight[2, 1] = 1.0
        layer.weight[1, 1] = 1e-30
    with pytest.raises(NumericalError):
        layer.inverse(torch.randn(1, 3, 2, 2), check=True)


def test_registering_a_layer_of_ones_own():
    class Scale(InvertibleConv):
        def __init__(self, channels, factor=2.0):
            super().__init__(channels)
            self.scale = nn.Parameter(torch.tensor(factor))

        def forward(self, x):
            count = x[0].numel()
            return x * self.scale, (count * self.scale.log()).repeat(len(x))

        def _inverse(self, z):
            return z / self.scale

    assert register("scale")(Scale) is Scale
    try:
        x = torch.randn(2, 3, 4, 4)
        layer = build("scale", (3, 4, 4), factor=3.0)
        torch.testing.assert_close(layer.inverse(layer(x)[0]), x)
        flow = invconv.flows.MultiScaleFlow("scale", (1, 4, 4), levels=1, steps=1, width=4)
        assert flow.sample(2).shape == (2, 1, 4, 4)
        assert "is taken" in message(ValueError, register("scale"), FInC)
        assert "subclass of InvertibleConv" in message(TypeError, register("linear"), nn.Linear)
        assert layer_class("scale") is Scale
    finally:
        del _REGISTRY["scale"]
