"""CInC and Emerging: the inverse beside torch's fastest forward of the same layer, and beside the
loop of the paper's code and what the authors' code took."""

import pytest
import torch
import torch.nn.functional as F

from invconv import TriangularConv, build
from invconv.bench import medians
from invconv.numerical import relative_error
from invconv.solvers.problem import FLIPS, parse_corners

pytestmark = pytest.mark.full

CPU = torch.device("cpu")
LAYERS = {
    "emerging": ("emerging", {}, 1.0),
    "emerging_raster": ("emerging", {"mask": "raster"}, 1.3),
    "cinc": ("cinc", {}, 1.0),
}
"""Name → layer, options, and the largest ratio inverse ÷ torch's forward it is meant for."""
SIZES = [(12, 16), (24, 8), (48, 4), (12, 32)]
AUTHORS_MS = {
    ("emerging", 12, 16): {"released": 47, "FInC's port": 104},
    ("emerging", 12, 32): {"released": 166, "FInC's port": 459},
    ("cinc", 12, 16): {"released": 34, "FInC's port": 24},
    ("cinc", 12, 32): {"released": 88, "FInC's port": 98},
    ("cinc", 24, 16): {"released": 71, "FInC's port": 85},
}
"""The authors' inverses at B = 100, k = 3 on an AMD EPYC with 2 cores, milliseconds."""


def torch_forwards(convs, x):
    """The layer's convolutions one after the other, in each way that torch has."""
    prepared = []
    for conv in convs:
        corner = parse_corners(conv.corners, 1)[0]
        (kh, kw), (row, column) = conv.kernel, conv.anchor
        above = kh - 1 - row if corner & 2 else row
        left = kw - 1 - column if corner & 1 else column
        taps = conv.triangular_weight().detach().flip(FLIPS[corner]).contiguous()
        prepared.append((taps, (left, kw - 1 - left, above, kh - 1 - above)))

    def padded(x):
        for taps, pad in prepared:
            x = F.conv2d(F.pad(x, pad), taps)
        return x

    embedded = []
    for taps, (left, right, above, below) in prepared:
        wide, high = max(left, right), max(above, below)
        zeros = (wide - left, wide - right, high - above, high - below)
        embedded.append((F.pad(taps, zeros), (high, wide)))

    def same(x):
        for taps, padding in embedded:
            x = F.conv2d(x, taps, padding=padding)
        return x

    last = x.to(memory_format=torch.channels_last)
    return {
        "padded": lambda: padded(x),
        "same": lambda: same(x),
        "padded channels-last": lambda: padded(last),
        "same channels-last": lambda: same(last),
    }


@pytest.mark.parametrize(("c", "n"), SIZES)
@pytest.mark.parametrize("name", LAYERS)
def test_inverse_beside_forward(benchmark, capsys, name, c, n):
    conv, options, target = LAYERS[name]
    layer = build(conv, (c, n, n), **options).eval()
    convs = [part for part in layer.modules() if isinstance(part, TriangularConv)]
    x = torch.randn(100, c, n, n)
    with torch.no_grad():
        z, _ = layer(x)
        assert relative_error(layer.inverse(z), x) < 1e-5
        forwards = torch_forwards(convs, x)
        for call in forwards.values():
            assert relative_error(call(), z) < 1e-5
        calls = forwards | {"inverse": lambda: layer.inverse(z), "forward": lambda: layer(x)}
        times = medians(calls, CPU, 40, 5)
        benchmark.pedantic(layer.inverse, (z,), rounds=10, warmup_rounds=1)
    ms = {key: 1e3 * time for key, time in times.items()}
    fastest = min(forwards, key=ms.__getitem__)
    benchmark.extra_info.update(ms, fastest_torch_forward=fastest, target=target)
    with capsys.disabled():
        print(
            f"\n{name:16} C {c:2}, n {n:2}: torch {ms[fastest]:.3f} ms ({fastest}), forward "
            f"{ms['forward']:.3f}, inverse {ms['inverse']:.3f}, inverse/torch "
            f"{ms['inverse'] / ms[fastest]:.2f} (target {target}), inverse/forward "
            f"{ms['inverse'] / ms['forward']:.2f}",
            end="",
        )


@pytest.mark.parametrize(("name", "c", "n"), AUTHORS_MS)
def test_beside_the_published_loop(benchmark, capsys, name, c, n):
    fast = build(name, (c, n, n)).eval()
    published = build(name, (c, n, n), inverse_method="published").eval()
    published.load_state_dict(fast.state_dict())
    z = torch.randn(100, c, n, n)
    with torch.no_grad():
        assert relative_error(fast.inverse(z), published.inverse(z)) < 1e-5
        times = medians({"ours": lambda: fast.inverse(z)}, CPU, 40, 5)
        times |= medians({"published": lambda: published.inverse(z)}, CPU, 5, 1)
        benchmark.pedantic(fast.inverse, (z,), rounds=10, warmup_rounds=1)
    ms = {key: 1e3 * time for key, time in times.items()}
    theirs = AUTHORS_MS[name, c, n]
    benchmark.extra_info.update(ms, **theirs)
    text = ", ".join(
        f"{who} {time} ms ({time / ms['ours']:.0f} times ours, the loop takes "
        f"{ms['published'] / time:.2f} of it)"
        for who, time in theirs.items()
    )
    with capsys.disabled():
        print(
            f"\n{name:8} C {c:2}, n {n:2}: ours {ms['ours']:.2f} ms, the paper's loop "
            f"{ms['published']:.1f} ms ({ms['published'] / ms['ours']:.0f} times), {text}",
            end="",
        )
