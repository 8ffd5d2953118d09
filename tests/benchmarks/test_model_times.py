"""A whole FInC model: sampling beside the forward pass, and beside the same model with Glow."""

import pytest
import torch

from invconv.bench import medians
from invconv.bench.verification import verify_round_trip
from invconv.flows import MultiScaleFlow

pytestmark = pytest.mark.full


def test_sampling_beside_forward(benchmark, capsys):
    torch.manual_seed(0)
    images = torch.randint(256, (100, 3, 32, 32), dtype=torch.uint8)
    flows = {}
    for conv in ("finc", "glow"):
        flow = MultiScaleFlow(conv, (3, 32, 32), levels=3, steps=8, width=128)
        flow.initialize(images)
        flows[conv] = flow.eval()
        assert verify_round_trip(flows[conv], images)["round_trip_error"] < 1e-4
    calls = {}
    for conv, flow in flows.items():
        calls[f"{conv} forward"] = lambda flow=flow: flow.log_prob(images)
        calls[f"{conv} sample"] = lambda flow=flow: flow.sample(100)
    with torch.no_grad():
        times = medians(calls, torch.device("cpu"), 40)
        benchmark.pedantic(calls["finc sample"], rounds=3)
    ms = {name: 1e3 * time for name, time in times.items()}
    benchmark.extra_info.update(ms)
    with capsys.disabled():
        print("\n(L, K) = (3, 8), width 128, 3×32×32, 100 images, milliseconds:", end=" ")
        print(", ".join(f"{name} {value:.0f}" for name, value in ms.items()))
        to_forward = ms["finc sample"] / ms["finc forward"]
        to_glow = ms["finc sample"] / ms["glow sample"]
        print(f"FInC sample ÷ forward {to_forward:.3f}, ÷ Glow's sample {to_glow:.3f}")
