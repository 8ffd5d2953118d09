"""Every registered layer keeps the contract of `InvertibleConv`."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

import invconv.flows
from invconv import FInC, Glow1x1, InverseError, InvertibleConv, MaCow, build, register
from invconv.conv import _REGISTRY, layer_class

LAYERS = [
    ("cinc", (1, 4, 3), {"kernel_size": 2}),
    ("cinc", (3, 3, 5), {"bias": True}),
    ("cinc", (5, 4, 3), {"diagonal": "unit"}),
    ("emerging", (1, 3, 4), {}),
    ("emerging", (3, 4, 5), {"mask": "raster", "bias": True}),
    ("emerging", (2, 5, 3), {"kernel_size": 5, "pointwise": True}),
    ("emerging", (4, 3, 2), {"kernel_size": 5, "mask": "raster"}),
    ("emerging", (2, 5, 4), {"mask": "raster", "dilation": 2}),
    ("emerging", (5, 2, 3), {"kernel_size": 1, "dilation": 3}),
    ("emerging", (2, 4, 6), {"dilation": 2, "bias": True}),
    ("finc", (4, 3, 5), {"kernel_size": 2}),
    ("finc", (8, 4, 3), {"kernel_size": 3}),
    ("finc", (4, 2, 3), {"kernel_size": 5}),
    ("finc", (12, 2, 2), {"kernel_size": 1}),
    ("glow", (3, 4, 3), {}),
    ("glow", (5, 2, 3), {"parametrization": "plain"}),
    ("glow", (1, 2, 2), {}),
    ("inverse_flow", (1, 4, 3), {"kernel_size": 2}),
    ("inverse_flow", (3, 3, 5), {}),
    ("inverse_flow", (5, 2, 3), {"kernel_size": 1}),
    ("woodbury", (2, 3, 5), {}),
    ("woodbury", (5, 4, 3), {"channel_rank": 1, "spatial_rank": 2}),
    ("woodbury", (1, 2, 3), {"inverse_method": "published"}),
    ("me_woodbury", (3, 4, 2), {}),
    ("me_woodbury", (5, 7, 6), {"channel_rank": 2, "height_rank": 3, "width_rank": 1}),
    ("me_woodbury", (4, 3, 5), {"inverse_method": "published"}),
    ("periodic", (2, 4, 3), {}),
    ("periodic", (5, 3, 6), {"kernel_size": 2}),
    ("periodic", (1, 4, 2), {"kernel_size": 5}),
    ("periodic", (3, 2, 5), {"kernel_size": 4, "inverse_method": "published"}),
    ("macow", (5, 3, 4), {}),
    ("macow", (1, 4, 3), {"orders": "AD", "hidden_channels": 3}),
    ("macow", (2, 2, 3), {"orders": "BC", "kernel_size": (3, 1), "inverse_method": "published"}),
]


@pytest.fixture(params=LAYERS, ids=lambda p: f"{p[0]}-{p[1]}-{p[2]}".replace(" ", ""))
def spec(request):
    return request.param


@pytest.fixture
def layer(spec, float64):
    name, shape, options = spec
    made = build(name, shape, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for part in made.modules():
            if isinstance(getattr(part, "sign", None), torch.Tensor):
                part.sign[::2] *= -1
    return made


@pytest.fixture
def x(spec, layer):
    return torch.randn(3, *spec[1])


def test_every_registered_layer_is_tested():
    assert {name for name, _, _ in LAYERS} == set(invconv.available())


def test_round_trip_both_ways(layer, x):
    for mode in (True, False):
        layer.train(mode)
        with torch.set_grad_enabled(mode):
            z, _ = layer(x)
            torch.testing.assert_close(layer.inverse(z, check=True), x, rtol=0, atol=1e-10)
            torch.testing.assert_close(layer(layer.inverse(x))[0], x, rtol=0, atol=1e-10)


def test_log_det_is_that_of_the_dense_jacobian(layer, x):
    z, log_det = layer(x)
    assert z.shape == x.shape
    assert log_det.shape == (len(x),)
    assert log_det.dtype == x.dtype
    for i in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda a: layer(a[None])[0][0], x[i])
        truth = torch.linalg.slogdet(jacobian.reshape(x[i].numel(), -1)).logabsdet
        torch.testing.assert_close(log_det[i], truth, rtol=0, atol=1e-9)


def test_gradients(layer, x):
    parameters = dict(layer.named_parameters())
    x = x[:2].clone().requires_grad_()

    def forward(x, *values):
        return torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), x)

    assert torch.autograd.gradcheck(forward, (x, *parameters.values()), fast_mode=True)
    loss = layer(x)[0].square().sum() + layer(x)[1].sum() + layer.inverse(x).square().sum()
    loss.backward()
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        if x.shape[2] > 1 and layer.channels > 4:
            assert parameter.grad.abs().sum() > 0, name


def test_input_is_not_changed_and_samples_do_not_mix(layer, x):
    before = x.clone()
    with torch.no_grad():
        layer.eval()(x)
        layer.inverse(x, check=True)
    torch.testing.assert_close(x, before, rtol=0, atol=0)
    z, _ = layer.train()(x)
    layer.inverse(x)
    torch.testing.assert_close(x, before, rtol=0, atol=0)
    torch.testing.assert_close(layer(x[1:2])[0], z[1:2])
    torch.testing.assert_close(layer.inverse(x)[1:2], layer.inverse(x[1:2]))


def test_an_empty_batch(layer, x):
    for mode in (True, False):
        layer.train(mode)
        with torch.set_grad_enabled(mode):
            z, log_det = layer(x[:0])
            assert z.shape == layer.inverse(z).shape == x[:0].shape
            assert log_det.shape == (0,)


def test_float32(layer, x):
    single = copy.deepcopy(layer).float()
    z, log_det = single(x.float())
    assert z.dtype == log_det.dtype == torch.float32
    torch.testing.assert_close(single.inverse(z).double(), x, rtol=1e-4, atol=1e-4)
    assert build("glow", (3, 2, 2)).weight.dtype == torch.float64


def test_eval_cache_follows_the_parameters(layer, x):
    """What sampling keeps is dropped by whatever changes a parameter."""
    layer.eval()

    def inverse():
        with torch.no_grad():
            return layer.inverse(x)

    def fresh():
        with torch.no_grad():
            return copy.deepcopy(layer).train().inverse(x)

    torch.testing.assert_close(inverse(), fresh())
    torch.testing.assert_close(inverse(), inverse(), rtol=0, atol=0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(0.9)
    torch.testing.assert_close(inverse(), fresh())
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    layer.load_state_dict(other.state_dict())
    torch.testing.assert_close(inverse(), fresh())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(x)[0].square().mean().backward()
    optimizer.step()
    torch.testing.assert_close(inverse(), fresh())
    x32 = x.float()
    layer.float()
    with torch.no_grad():
        assert layer.inverse(x32).dtype == torch.float32


def test_eval_cache_is_not_fooled_by_reused_memory(layer, x):
    layer.eval()
    parameters = list(layer.parameters())
    vector = torch.nn.utils.parameters_to_vector(parameters).detach()
    with torch.no_grad():
        for factor in (1.0, 0.9, 0.8, 0.7):
            torch.nn.utils.vector_to_parameters(factor * vector, parameters)
            torch.testing.assert_close(layer.inverse(x), copy.deepcopy(layer).train().inverse(x))


def test_inference_mode_and_ensembles(layer, x):
    layer.eval()
    truth = copy.deepcopy(layer).train().inverse(x)
    with torch.inference_mode():
        torch.testing.assert_close(layer.inverse(x), truth)
    with torch.no_grad():
        found = layer.inverse(x)
        assert not found.is_inference()
        state = {name: torch.stack([p, p]) for name, p in layer.named_parameters()}
        buffers = dict(layer.named_buffers())

        def one(values):
            return torch.func.functional_call(layer, {**values, **buffers}, x)[0]

        stacked = torch.vmap(one)(state)
    torch.testing.assert_close(stacked[1], layer(x)[0])


def test_state_is_saved_without_the_cache(layer, x):
    layer.eval()
    with torch.no_grad():
        truth = layer.inverse(x)
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(torch.load(buffer, weights_only=True))
    torch.testing.assert_close(other.inverse(x), truth)
    torch.testing.assert_close(pickle.loads(pickle.dumps(layer)).inverse(x), truth)
    copies = pickle.loads(pickle.dumps(layer)).modules()
    caches = [part._cache for part in copies if hasattr(part, "_cache")]
    assert not any(cache._entries for cache in caches)


def test_defaults_of_the_contract(layer, x):
    layer.initialize(x)
    assert layer.extra_loss(x, x).shape == (len(x),)
    assert layer.exact
    assert layer.constant_log_det == (type(layer) is not MaCow)
    assert layer.solve_direction in ("forward", "inverse", "none")
    assert type(layer).__name__ in repr(layer)


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
    with pytest.raises(InverseError):
        layer.inverse(torch.randn(1, 3, 2, 2), check=True)


def test_registering_a_layer_of_ones_own():
    class Scale(InvertibleConv):
        def __init__(self, channels, factor=2.0):
            super().__init__(channels)
            self.scale = nn.Parameter(torch.tensor(factor))

        def forward(self, x):
            count = x[0].numel()
            return x * self.scale, (count * self.scale.log()).repeat(len(x))

        def inverse(self, z, *, check=False):
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
