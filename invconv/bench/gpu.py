"""What a GPU session measures: every method at the field's shapes, and whole models.

Needs neither Hydra nor submitit. Each cell ends with its own row; what the time does not suffice
for stays without a row. On a CPU, with tiny shapes, the same code runs without graphs and events.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.bench.baselines import corner_weight, flops, pointwise, torch_forwards, tuned
from invconv.bench.flow_timing import time_flow
from invconv.bench.gpu_tools import captured, copy_rate, launch_costs, sanitize, tf32
from invconv.bench.timing import Timing, spread, time_interleaved
from invconv.flows import MultiScaleFlow
from invconv.layers import FInC
from invconv.numerical import relative_error
from invconv.rows import Incorrect
from invconv.solvers import METHODS, resolve
from invconv.solvers.cuda import published
from invconv.solvers.problem import CORNERS

TOLERANCE = 1e-4
Measure = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One row to be: its readable name, what identifies it, and how it is measured."""

    label: str
    labels: dict[str, Any]
    measure: Measure


def cells(device: torch.device, tiny: bool) -> list[Cell]:
    """All cells, the most wanted first."""
    found = [Cell("machine", {"part": "machine"}, lambda _: _machine(device, tiny))]
    shapes = [(12, 16), (12, 32), (12, 64), (24, 16), (24, 32), (48, 16), (48, 32), (48, 64)]
    shapes += [(24, 8), (48, 4)]
    models = [("glow", 100), ("finc", 100), ("glow", 1), ("finc", 1)]
    large = [(12, 128), (12, 256), (12, 512), (48, 128)]
    many = 2 if tiny else 100
    if tiny:
        shapes, large = [(4, 6)], [(4, 9)]
        models = [("glow", 2), ("finc", 2)]
    kinds = [("finc", c, n, many) for c, n in shapes]
    found += [_layer_cell(device, tiny, *kind) for kind in kinds]
    found += [_model_cell(device, tiny, *model) for model in models]
    kinds = [("finc", c, n, many) for c, n in large]
    kinds += [("finc", c, n, 1) for c, n in [*shapes, *large]]
    kinds += [
        (name, c, n, many)
        for name in ("cinc", "emerging raster")
        for c, n in (shapes if tiny else [(12, 16), (12, 32), (48, 16), (48, 32), (48, 64)])
    ]
    found += [_layer_cell(device, tiny, *kind) for kind in kinds]
    if device.type == "cuda":
        for c, n in ((12, 32), (48, 32), (48, 64)):
            found.append(_layer_cell(device, tiny, "finc", c, n, 100, with_tf32=True))
        for tool in ("memcheck", "racecheck"):
            labels = {"part": "sanitizer", "kind": tool}
            found.append(Cell(tool, labels, partial(_sanitize, tool)))
    return list({cell.label: cell for cell in found}.values())


def _sanitize(tool: str, _: Path) -> dict[str, Any]:
    return {"sanitizer": sanitize(tool, 120)}


def _machine(device: torch.device, tiny: bool) -> dict[str, Any]:
    copied = copy_rate(device, 1 << 16 if tiny else 1 << 30)
    return {**copied, **(launch_costs(device) if device.type == "cuda" else {})}


def _layer_cell(
    device: torch.device,
    tiny: bool,
    kind: str,
    channels: int,
    n: int,
    batch: int,
    with_tf32: bool = False,
) -> Cell:
    labels = {"part": "layer", "kind": kind, "channels": channels, "n": n, "batch": batch}
    labels["tf32_block"] = with_tf32
    label = f"{kind.replace(' ', '-')}-c{channels}-n{n}-b{batch}{'-tf32' if with_tf32 else ''}"

    def measure(_: Path) -> dict[str, Any]:
        return time_layer(device, kind, channels, n, batch, 3 if tiny else 30, with_tf32)

    return Cell(label, labels, measure)


def time_layer(
    device: torch.device,
    kind: str,
    channels: int,
    n: int,
    batch: int,
    repeats: int,
    with_tf32: bool = False,
) -> dict[str, Any]:
    """One layer: proves every inverse, then times graph replays, plain calls and baselines.

    Everything is proved with TF32 off; ``with_tf32`` lets torch's baselines use it while they
    are timed, and leaves torch's other inverses out, which would not be inverses with it.

    Returns:
        Seconds: inverse_s, forward_s, torch_forward_s (the fastest), pointwise_s from graph
        replays (plain calls on a CPU), …_eager_s of plain calls, and those of the published
        algorithms and of the wavefront in torch, which cannot be captured or would not gain.

    Raises:
        Incorrect: if an inverse does not give its input back.
    """
    torch.manual_seed(0)
    weight, arguments = _problem(kind, channels, device)
    x = torch.randn(batch, channels, n, n, device=device)
    with tf32(False), tuned(device):
        z = triangular_conv2d(x, weight, method="torch", **arguments)
    out = torch.empty_like(z)
    values: dict[str, Any] = {"input_bytes": x.numel() * 4, "solver": resolve("auto", device)}

    def solve(method: str) -> Tensor:
        return solve_triangular_conv2d(z, weight, method=method, out=out, **arguments)

    names = [m for m in METHODS if m != "reference" and not METHODS[m].missing(device)]
    if with_tf32:
        names = [m for m in names if m == "compiled"]
    if kind.startswith("emerging"):
        names = [m for m in names if not m.startswith("diagonal_channel")]
    for name in names:
        with tf32(False):
            error = relative_error(solve(name), x)
        if not error <= TOLERANCE:
            raise Incorrect(f"{name} has a round-trip error of {error:.1e}")
        values[f"{name}_error"] = error
    again = triangular_conv2d(x, weight, **arguments)
    error = relative_error(again, z)
    if not error <= TOLERANCE:
        raise Incorrect(f"the compiled forward differs from torch's by {error:.1e}")

    forwards = {"torch": lambda: triangular_conv2d(x, weight, method="torch", **arguments)}
    if kind == "finc":
        forwards = torch_forwards(x, weight)
    points = pointwise(x, torch.randn(channels, channels, device=device))
    calls: dict[str, Callable[[], Any]] = {
        "inverse": partial(solve, "auto"),
        "forward": lambda: triangular_conv2d(x, weight, out=out, **arguments),
        **forwards,
        **points,
    }
    plain = {f"{name}_eager": calls[name] for name in ("inverse", "forward")}
    slow = [name for name in names if name != "compiled"]
    with tf32(with_tf32), tuned(device) as settings:
        graphs = {name: captured(call, device) for name, call in calls.items()}
        times = time_interleaved({**graphs, "again": graphs["inverse"]}, device, 3, repeats)
        times |= time_interleaved(plain, device, 3, repeats)
        times |= time_interleaved({m: partial(solve, m) for m in slow}, device, 1, 3)
    values |= settings
    times["torch_forward"] = fastest(times, list(forwards), values, "fastest_torch_forward")
    times["pointwise"] = fastest(times, list(points), values, "fastest_pointwise")
    for name in (*calls, *plain, *slow, "torch_forward", "pointwise"):
        values |= _seconds(name, times[name])
    inverse = times["inverse"].median
    values["aa_spread"] = spread(times["inverse"], times["again"])
    values["inverse_bytes_per_s"] = 2 * values["input_bytes"] / inverse
    values["inverse_flop_per_s"] = flops(x, weight) / inverse
    if device.type == "cuda" and "diagonal_channel_4" in slow:
        values["launches"] = published.launches(z.shape, weight.shape, four=False)
        values["launches_4"] = published.launches(z.shape, weight.shape, four=True)
    return values


def _problem(kind: str, channels: int, device: torch.device) -> tuple[Tensor, dict[str, Any]]:
    """A layer's kernel at the published initialisation, N(0, 0.05), and its geometry."""
    if kind == "finc":
        return corner_weight(channels, 3).to(device), {"corners": CORNERS}
    anchor = (1, 1) if kind.startswith("emerging") else (2, 2)
    weight = 0.05 * torch.randn(channels, channels, 3, 3)
    weight[:, :, *anchor] = weight[:, :, *anchor].tril(-1) + torch.eye(channels)
    return weight.to(device), {"anchor": anchor}


def _model_cell(device: torch.device, tiny: bool, conv: str, images: int) -> Cell:
    labels = {"part": "model", "kind": conv, "batch": images, "tf32_block": False}

    def measure(_: Path) -> dict[str, Any]:
        with tf32(False):
            return time_model(device, conv, images, tiny)

    return Cell(f"model-{conv}-b{images}", labels, measure)


def time_model(device: torch.device, conv: str, images: int, tiny: bool) -> dict[str, Any]:
    """A whole model, (L, K) = (3, 32) on 3×32×32 with 512 hidden channels as published.

    Returns:
        Seconds as `time_flow`, and graph_ft_s, graph_st_s and convolutions_s, the inverses of
        all k×k convolutions of one sampling pass by themselves, from graph replays.
    """
    torch.manual_seed(0)
    levels, steps, width, size = (2, 1, 8, 8) if tiny else (3, 32, 512, 32)
    flow = MultiScaleFlow(conv, (3, size, size), levels, steps, width).to(device).eval()
    batch = torch.randint(0, 256, (images, 3, size, size), device=device)
    flow.initialize(batch)
    repeats = 3 if tiny else 20
    values: dict[str, Any] = {"parameters": sum(p.numel() for p in flow.parameters())}
    values |= time_flow(flow, batch, 2, repeats)
    with torch.no_grad():
        calls: dict[str, Callable[[], Any]] = {
            "graph_ft": captured(partial(flow.log_prob, batch), device),
            "graph_st": captured(partial(draw_images, flow, images), device),
        }
        inverses = convolution_inverses(flow, images, device)
        if inverses:
            calls["convolutions"] = captured(lambda: [call() for call in inverses], device)
        times = time_interleaved(calls | {"again": calls["graph_ft"]}, device, 2, repeats)
    for name in calls:
        values |= _seconds(name, times[name])
    values["graph_aa_spread"] = spread(times["graph_ft"], times["again"])
    return values


def draw_images(flow: MultiScaleFlow, n: int) -> Tensor:
    """`LevelFlow.sample` without the look at the images, for which a graph cannot wait."""
    return flow.dequantization.inverse(flow.decode(flow.draw(n)))


def convolution_inverses(
    flow: MultiScaleFlow, images: int, device: torch.device
) -> list[Callable[[], Tensor]]:
    """The inverse of every k×k convolution of ``flow`` on latents of its own shape."""
    found: list[Callable[[], Tensor]] = []
    for number, level in enumerate(flow.levels):
        height, width = (size >> (number + 1) for size in flow.shape[1:])
        for layer in level.modules():
            if isinstance(layer, FInC):
                z = torch.randn(images, layer.channels, height, width, device=device)
                found.append(partial(layer.inverse, z))
    return found


def fastest(
    times: dict[str, Timing], names: list[str], values: dict[str, Any], note: str
) -> Timing:
    """The shortest median among ``names``, whose name is noted in ``values``."""
    values[note] = min(names, key=lambda name: times[name].median)
    return times[values[note]]


def _seconds(name: str, timing: Timing) -> dict[str, float]:
    return timing.values(name.replace(" ", "_").replace("-", "_"))
