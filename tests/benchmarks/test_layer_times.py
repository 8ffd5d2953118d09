"""`pytest --benchmark-only`: forward and inverse of every layer, gated by the round trip."""

import pytest
import torch

from invconv import available, build
from invconv.numerical import relative_error


@pytest.mark.parametrize("n", [8, 16, 32])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("name", available())
def test_layer(benchmark, name, direction, n, batch=100, channels=12):
    layer = build(name, (channels, n, n)).eval()
    x = torch.randn(batch, channels, n, n)
    with torch.no_grad():
        z, _ = layer(x)
        error = relative_error(layer.inverse(z), x)
        assert error < 1e-5
        benchmark.group = f"{direction}-n{n}"
        benchmark.extra_info.update(
            threads=torch.get_num_threads(),
            device="cpu",
            round_trip_error=error,
            method=layer.solver(x.device),
        )
        call, argument = (layer, x) if direction == "forward" else (layer.inverse, z)
        benchmark.pedantic(call, (argument,), rounds=15, warmup_rounds=2)
