"""One triangular layer: verified, then timed together with what it is compared with."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.bench.baselines import pointwise, torch_forwards, tuned
from invconv.bench.gpu_tools import captured, tf32
from invconv.bench.timing import Timing, spread, time_interleaved
from invconv.numerical import relative_error
from invconv.rows import Incorrect, Values
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
class LayerTimes:
    """What `time_layer` measured.

    The errors are those of each method's round trip. The times are of "inverse" and "forward",
    both into a reused output; "fresh", the inverse into new memory; each of torch's forwards and
    1×1 convolutions; the fastest of each, "torch_forward" and "pointwise"; each method but
    "compiled"; with ``graphs`` "inverse_eager" and "forward_eager", plain calls. The values are a
    row's others.
    """

    errors: Mapping[str, float]
    times: Mapping[str, Timing]
    values: Values


def time_layer(
    layer: Layer,
    methods: Iterable[str],
    repeats: int,
    slow_repeats: int = 3,
    graphs: bool = False,
    allow_tf32: bool = False,
) -> LayerTimes:
    """Verify every method and our forward, then time them, torch's forwards and a 1×1.

    Methods other than "compiled" are slow and have a block of their own, of ``slow_repeats``.
    With ``graphs`` replays of CUDA graphs are timed, and plain calls of ours in a second block.
    ``allow_tf32`` lets torch use TF32 while it is timed; what is verified never does.

    Raises:
        Incorrect: if an inverse does not return its input, or our forward is not torch's.
    """
    x, device, z = layer.x, layer.x.device, layer.z
    out = torch.empty_like(z)
    inverses = {name: partial(layer.inverse, name, out) for name in methods}
    with tf32(False):
        errors = {name: relative_error(call(), x) for name, call in inverses.items()}
        wrong = {f"{name} has a round-trip error of": error for name, error in errors.items()}
        wrong["our forward differs from torch's by"] = relative_error(layer.forward(), z)
    for what, error in wrong.items():
        if not error <= TOLERANCE:
            raise Incorrect(f"{what} {error:.1e}")
    fastest: dict[str, Mapping[str, Callable[[], Tensor]]] = {
        "torch_forward": {"torch": partial(layer.forward, "torch")},
        "pointwise": pointwise(x, torch.randn(x.shape[1], x.shape[1], device=device)),
    }
    if tuple(layer.corners) == CORNERS:
        fastest["torch_forward"] = torch_forwards(x, layer.weight)
    ours = {"forward": partial(layer.forward, out=out), "inverse": partial(layer.inverse, out=out)}
    calls: dict[str, Callable[[], object]] = {**fastest["torch_forward"], **fastest["pointwise"]}
    calls |= {"fresh": layer.inverse, **ours}
    slow = {name: call for name, call in inverses.items() if name != "compiled"}
    eager = {f"{name}_eager": call for name, call in ours.items()} if graphs else {}
    with tf32(allow_tf32), tuned(device) as settings:
        if graphs:
            calls = {name: captured(call, device) for name, call in calls.items()}
        times = time_interleaved({**calls, "again": calls["inverse"]}, device, 3, repeats)
        times |= time_interleaved(eager, device, 3, repeats)
        times |= time_interleaved(slow, device, 1, slow_repeats)
    values: Values = {
        "solver": resolve("auto", device),
        "input_bytes": x.nbytes,
        "aa_spread": spread(times["inverse"], times.pop("again")),
        **settings,
    }
    for kind, ways in fastest.items():
        name = min(ways, key=lambda way: times[way].median)
        times[kind], values[f"fastest_{kind}"] = times[name], name
    return LayerTimes(errors, times, values)
