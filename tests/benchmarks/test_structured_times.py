"""Woodbury, Periodic and MaCow: inverse beside forward, interleaved, and the authors' times."""

import pytest
import torch

from invconv import build
from invconv.bench import medians
from invconv.numerical import relative_error

pytestmark = pytest.mark.full

AUTHORS_MS = {
    ("woodbury", 100, 12, 32): (14.8, 9.6),
    ("woodbury", 100, 48, 16): (7.0, 6.2),
    ("me_woodbury", 100, 12, 32): (13.4, 14.8),
    ("me_woodbury", 100, 48, 16): (15.1, 19.2),
    ("macow", 100, 12, 32): (37, 81),
    ("macow", 100, 48, 32): (270, 469),
    ("macow", 1, 12, 32): (0.6, 7.3),
    ("macow", 1, 48, 32): (2.0, 10),
}
"""Forward and inverse of the released code, milliseconds, on such a machine; MaCow's one masked
convolution, its inverse with a further forward pass for log_det."""
TARGETS = [
    *[
        (name, 100, c, n, 1.1)
        for name in ("woodbury", "me_woodbury")
        for c, n in [(12, 32), (48, 16)]
    ],
    ("periodic", 100, 12, 32, 1.3),
    ("periodic", 100, 48, 16, 1.3),
    ("macow", 100, 12, 32, 1.5),
    ("macow", 100, 48, 32, 1.5),
    ("macow", 1, 12, 32, 3.0),
    ("macow", 1, 48, 32, 3.0),
]
"""Layer, B, C, n and the largest ratio inverse ÷ forward that it is meant for."""


@pytest.fixture(scope="module", autouse=True)
def _header():
    print(
        f"\nmilliseconds, medians, {torch.get_num_threads()} threads\n{'layer':>12} {'B,C,n':>10} "
        f"{'forward':>8} {'inverse':>8} {'published':>9} | {'inv/fwd':>7} {'target':>6} | "
        f"{'authors: forward':>16} {'inverse':>8}"
    )


@pytest.mark.parametrize(("name", "batch", "c", "n", "target"), TARGETS)
def test_inverse_beside_forward(benchmark, capsys, name, batch, c, n, target):
    options = {"orders": "A"} if name == "macow" else {}
    layer = build(name, (c, n, n), **options).eval()
    published = build(name, (c, n, n), inverse_method="published", **options).eval()
    x = torch.randn(batch, c, n, n)
    layer.initialize(x)
    published.load_state_dict(layer.state_dict())
    with torch.no_grad():
        z, _ = layer(x)
        assert relative_error(layer.inverse(z), x) < 1e-5
        calls = {
            "forward": lambda: layer(x),
            "inverse": lambda: layer.inverse(z),
            "published": lambda: published.inverse(z),
        }
        times = medians(calls, torch.device("cpu"), 200 if batch == 1 else 30, 3)
        ms = {call: 1e3 * time for call, time in times.items()}
        benchmark.group = f"inverse-{name}"
        benchmark.extra_info.update(ms, target=target)
        benchmark.pedantic(calls["inverse"], rounds=5, warmup_rounds=1)
    forward, inverse = AUTHORS_MS.get((name, batch, c, n), ("–", "–"))
    with capsys.disabled():
        print(
            f"{name:>12} {f'{batch},{c},{n}':>10} {ms['forward']:8.2f} {ms['inverse']:8.2f} "
            f"{ms['published']:9.2f} | {ms['inverse'] / ms['forward']:7.2f} {target:6.1f} | "
            f"{forward:>16} {inverse:>8}"
        )
