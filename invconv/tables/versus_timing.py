"""The times of whole models and of single layers at several n and k, each in one block."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from invconv import build
from invconv.bench import Measured, Process, Ratio, Timed, time_calls
from invconv.bench.baselines import Calls, tuned
from invconv.bench.blocks import guarded_parts
from invconv.bench.clock import Call
from invconv.bench.counting import count_inverse
from invconv.bench.flow_timing import AGAIN, FlowCalls, time_together, verify_flow
from invconv.bench.verification import verify_part
from invconv.bench.verified import summary
from invconv.flows import build_flow
from invconv.methods import Method, methods
from invconv.report.grids import swept
from invconv.rows import Part, Unsupported, Values
from invconv.tables.trained import describe_flow, facts
from invconv.tables.versus_config import Versus, kernel_of, size_of
from invconv.tables.versus_pictures import REFERENCE, TORCH

INITIAL_IMAGES = 16
MOST_OPERATIONS = 5e11
"""Multiply-adds of one inverse of a batch that is timed: some ten seconds on two CPU cores."""
LEVELS = 256
VERIFIED_LAYER = 2
TimePoint = Callable[[Versus, torch.device, Process, str], tuple[Timed, dict[str, Part]]]


def ratios(samples: pd.DataFrame, kinds: tuple[str, str]) -> Iterator[Ratio]:
    """Yield what is divided, for each part ``point-method``.

    The second kind by the first; both by Glow's, by the fastest of torch's, and by those of half
    the image size; the second one by the paper's algorithm by Glow's; A/A.
    """
    medians = samples.groupby("call", sort=False)["seconds"].median()
    first, second = kinds
    for part in dict.fromkeys(str(call).rpartition("/")[0] for call in medians.index):
        point, _, name = part.partition("-")
        n, k = size_of(point)
        glow = f"{point}-{REFERENCE}"
        begins = medians.index.str.startswith(f"{point}-{TORCH}/")
        torchs = medians[begins] if name != TORCH else medians[:0]
        yield Ratio(f"{second}_vs_{first}", f"{part}/{second}", f"{part}/{first}")
        yield Ratio(f"aa_{second}", f"{part}/{second}{AGAIN}", f"{part}/{second}")
        yield Ratio(
            f"{second}_published_vs_glow", f"{part}/{second}_published", f"{glow}/{second}"
        )
        for kind in kinds:
            half = f"n{n // 2}k{k}-{name}"
            yield Ratio(f"{kind}_vs_half", f"{part}/{kind}", f"{half}/{kind}")
            yield Ratio(f"{kind}_vs_glow", f"{part}/{kind}", f"{glow}/{kind}")
            if len(torchs):
                yield Ratio(f"{kind}_vs_torch", f"{part}/{kind}", str(torchs.idxmin()))


def _parts_at(
    point: str, process: Process, make: Callable[[str, Method], Values]
) -> dict[str, Part]:
    """The parts of a point; ``make`` is given the name of each and its method.

    The reference is at every point: it has no kernel size, but shows how the machine drifts.
    """
    n, k = size_of(point)
    found = {f"{point}-{name}": at for name in swept() if (at := kernel_of(name, k))}
    found.setdefault(f"{point}-{REFERENCE}", (methods()[REFERENCE], k))
    labels: dict[str, Values] = {
        part: {"place": part, "method": one.name, "n": n, "k": own, "point": point}
        for part, (one, own) in found.items()
    }
    return guarded_parts(labels, process, lambda part: make(part, found[part][0]))


def _all_points(
    config: Versus, device: torch.device, process: Process, time: TimePoint
) -> Measured:
    """Time point by point, each in rounds of its own."""
    timed, parts = [], dict[str, Part]()
    for point in config.points:
        one, found = time(config, device, process, point)
        timed.append(one)
        parts |= found
    return Measured(timed, parts=parts)


def time_models(config: Versus, device: torch.device, process: Process) -> Measured:
    """Verify and time the flows of all methods, point by point, as initialized."""
    return _all_points(config, device, process, _models_at)


def _models_at(
    config: Versus, device: torch.device, process: Process, point: str
) -> tuple[Timed, dict[str, Part]]:
    n, _ = size_of(point)
    shape = (config.channels, n, n)
    torch.manual_seed(config.seed)
    images = torch.randint(LEVELS, (max(INITIAL_IMAGES, config.batch), *shape)).byte().to(device)
    flows = dict[str, FlowCalls]()

    def prepare(part: str, one: Method) -> Values:
        torch.manual_seed(config.seed)
        flow = build_flow(describe_flow(config, one, shape, LEVELS)).to(device)
        flow.initialize(images[:INITIAL_IMAGES])
        flow.eval()
        values = {**facts(flow, images), **verify_flow(flow, images)} if process.first else {}
        flows[part] = FlowCalls(flow, images[: config.batch])
        return values

    parts = _parts_at(point, process, prepare)
    timed = time_together(flows, device, config.clock, process, f"{point}-{REFERENCE}")
    for part, flow in flows.items():
        parts[part] = replace(parts[part], values={**parts[part].values, **flow.after()})
    return timed, parts


def time_layers(config: Versus, device: torch.device, process: Process) -> Measured:
    """Verify and time one layer of every method, and torch's convolutions, point by point."""
    return _all_points(config, device, process, _layers_at)


def _layers_at(
    config: Versus, device: torch.device, process: Process, point: str
) -> tuple[Timed, dict[str, Part]]:
    n, k = size_of(point)
    torch.manual_seed(config.seed)
    x = torch.randn(config.batch, config.channels, n, n).to(device)
    calls = dict[str, Call]()

    def prepare(part: str, one: Method) -> Values:
        torch.manual_seed(config.seed)
        layer = build(one.conv, (config.channels, n, n), **one.options).to(device)
        layer.initialize(x[:INITIAL_IMAGES])
        layer.eval()
        work = len(x) * count_inverse(layer, (config.channels, n, n)) if process.first else 0
        if work > MOST_OPERATIONS:
            raise Unsupported(
                f"an inverse of {len(x)} images takes {work:.1e} multiply-adds, and a block has "
                f"time for {MOST_OPERATIONS:.0e}: ask for a smaller batch"
            )
        values: Values = {"solver": layer.solver(device), "input_bytes": x.nbytes}
        if process.first:
            values["parameters"] = sum(p.numel() for p in layer.parameters())
            generator = torch.Generator().manual_seed(0)
            found = verify_part(layer, x[:VERIFIED_LAYER].double(), generator, part)[1]
            values |= summary([found])
        with torch.no_grad():
            z = layer(x)[0]
        calls[f"{part}/forward"] = torch.no_grad()(partial(layer, x))
        inverse = calls[f"{part}/inverse"] = torch.no_grad()(partial(layer.inverse, z))
        if one.name == REFERENCE:
            calls[f"{part}/inverse{AGAIN}"] = inverse
        return values

    parts = _parts_at(point, process, prepare)
    torchs = f"{point}-{TORCH}"
    with tuned(device):
        calls |= {f"{torchs}/{name}": call for name, call in torch_convolutions(x, k).items()}
        timed = time_calls(calls, device, config.clock, seed=process.number)
    place: Values = {"place": torchs, "method": TORCH, "n": n, "k": k, "point": point}
    return timed, parts | {torchs: Part(place, {"input_bytes": x.nbytes})}


def torch_convolutions(x: Tensor, k: int) -> Calls:
    """Return torch's k×k convolutions that keep the size: dense, channels last, four groups."""
    channels = x.shape[1]
    weight = torch.randn(channels, channels, k, k, device=x.device)
    padded = (k // 2, k - 1 - k // 2) * 2
    x_last, w_last = (t.to(memory_format=torch.channels_last) for t in (x, weight))
    grouped = weight[:, : channels // 4].contiguous()

    def convolve(x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
        if k % 2:
            return F.conv2d(x, weight, padding=k // 2, groups=groups)
        return F.conv2d(F.pad(x, padded), weight, groups=groups)

    return {
        "dense": lambda: convolve(x, weight),
        "dense_channels_last": lambda: convolve(x_last, w_last),
        "grouped": lambda: convolve(x, grouped, 4),
    }
