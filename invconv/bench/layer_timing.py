"""One triangular layer: verified, then timed together with what it is compared with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.bench.baselines import Calls, pointwise, torch_forwards, tuned
from invconv.bench.clock import Call
from invconv.bench.gpu_tools import captured
from invconv.bench.ratios import Ratio
from invconv.modes import tf32
from invconv.numerical import relative_error
from invconv.rows import Block, Incorrect, Values
from invconv.solvers import resolve
from invconv.solvers.problem import CORNERS

TOLERANCE = 1e-4


@dataclass(eq=False)
class Layer:
    """A triangular convolution of x (B, C, H, W), and its output z by torch without TF32.

    Weight, anchor and corners are as in `triangular_conv2d`; FInC's corners are `CORNERS`.
    """

    x: Tensor
    weight: Tensor
    anchor: tuple[int, int] | None = None
    corners: str | Sequence[str] = "tl"

    def __post_init__(self) -> None:
        with tf32(False), tuned(self.x.device):
            self.z = self.forward("torch")

    def forward(self, method: str = "auto", out: Tensor | None = None) -> Tensor:
        """`triangular_conv2d` of x."""
        return triangular_conv2d(
            self.x, self.weight, anchor=self.anchor, corners=self.corners, method=method, out=out
        )

    def inverse(self, method: str = "auto", out: Tensor | None = None) -> Tensor:
        """`solve_triangular_conv2d` of z."""
        return solve_triangular_conv2d(
            self.z, self.weight, anchor=self.anchor, corners=self.corners, method=method, out=out
        )


@dataclass(frozen=True)
class LayerCalls:
    """The calls of one layer that a block times, and what was verified of them.

    "inverse" and "forward", both into a reused output; "inverse_again", the same once more for
    A/A; "fresh", the inverse into new memory; each of torch's forwards and 1×1 convolutions; each
    method but "compiled"; with graphs also "inverse_hot" and "forward_hot", `HOT` calls in one
    graph, and "inverse_eager" and "forward_eager", plain ones.
    """

    calls: Mapping[str, Call]
    values: Values


HOT = 40
"""Calls in one graph, which find what they read in the cache of the device."""
FASTEST = {
    "torch_forward": (
        *("torch", "four", "four_fresh", "four_cropped"),
        *("grouped", "dense", "dense_channels_last"),
    ),
    "pointwise": ("1x1_conv2d", "1x1_matmul"),
}
"""A name in rows → the calls of which it is the fastest."""


def layer_calls(
    layer: Layer, methods: Iterable[str], graphs: bool = False, verify: bool = True
) -> LayerCalls:
    """Verify every method, our forward and torch's, and return what is timed.

    What is verified never uses TF32; with ``graphs`` the calls are replays of CUDA graphs.

    Raises:
        Incorrect: if an inverse does not return its input, or a forward is not torch's.
    """
    x, device, z = layer.x, layer.x.device, layer.z
    out = torch.empty_like(z)
    inverses = {name: partial(layer.inverse, name, out) for name in methods}
    forwards: Calls = {"torch": partial(layer.forward, "torch")}
    if tuple(layer.corners) == CORNERS:
        forwards = torch_forwards(x, layer.weight)
    ones = pointwise(x, torch.randn(x.shape[1], x.shape[1], device=device))
    values: Values = {"solver": resolve("auto", device), "input_bytes": x.nbytes}
    if verify:
        with tf32(False):
            errors = {name: relative_error(call(), x) for name, call in inverses.items()}
            wrong = {f"{name} has a round-trip error of": error for name, error in errors.items()}
            for name, call in {"our": layer.forward, **forwards}.items():
                wrong[f"the forward {name!r} differs from torch's by"] = relative_error(call(), z)
            first, *others = (call().view_as(x) for call in ones.values())
            for other in others:
                wrong["the two 1×1 convolutions differ by"] = relative_error(other, first)
        for what, error in wrong.items():
            if not error <= TOLERANCE:
                raise Incorrect(f"{what} {error:.1e}, allowed is {TOLERANCE:.0e}")
        values |= {f"{method}_error": error for method, error in errors.items()}
    ours = {"forward": partial(layer.forward, out=out), "inverse": partial(layer.inverse, out=out)}
    calls: dict[str, Call] = {**forwards, **ones, "fresh": layer.inverse, **ours}
    if graphs:
        hot = {f"{name}_hot": captured(call, device, HOT) for name, call in ours.items()}
        eager = {f"{name}_eager": call for name, call in ours.items()}
        calls = {name: captured(call, device) for name, call in calls.items()} | hot | eager
    calls["inverse_again"] = calls["inverse"]
    calls |= {name: call for name, call in inverses.items() if name != "compiled"}
    return LayerCalls(calls, values)


def fastest(samples: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return for each part which call is the fastest of each of `FASTEST`, by its median."""
    medians = samples.groupby("call", sort=False)["seconds"].median()
    found: dict[str, dict[str, str]] = {}
    for part in dict.fromkeys(str(call).rpartition("/")[0] for call in medians.index):
        begin = f"{part}/" if part else ""
        for kind, ways in FASTEST.items():
            times = medians[medians.index.isin([begin + way for way in ways])]
            found.setdefault(part, {})[kind] = str(times.idxmin()).rpartition("/")[2]
    return found


def layer_ratios(samples: pd.DataFrame, divided: Iterable[tuple[str, str]]) -> list[Ratio]:
    """Return the ratios of calls, or of `FASTEST` ones, each named ``above_vs_below``, and A/A."""
    found = []
    for part, names in fastest(samples).items():
        begin = f"{part}/" if part else ""
        for above, below in divided:
            a, b = names.get(above, above), names.get(below, below)
            found.append(Ratio(f"{above}_vs_{below}", begin + a, begin + b))
        found.append(Ratio("aa_inverse", f"{begin}inverse_again", f"{begin}inverse"))
    return found


def with_fastest(block: Block) -> Block:
    """Return a block that also has the times of the `FASTEST` calls, and their names."""
    values = dict(block.values)
    parts = {name: dict(part.values) for name, part in block.parts.items()}
    for part, names in fastest(block.samples).items():
        row = parts.get(part, values)
        for kind, name in names.items():
            row[f"fastest_{kind}"] = name
            row |= {f"{kind}{end}": row[f"{name}{end}"] for end in ("_s", "_q25_s", "_q75_s")}
    changed = {name: replace(p, values=parts[name]) for name, p in block.parts.items()}
    return replace(block, values=values, parts=changed)
