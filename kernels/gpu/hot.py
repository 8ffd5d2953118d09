"""What one call takes on the device itself: graphs of many equal calls, hot, no host in between.

    python3 kernels/gpu/hot.py OUT.json [--cpu]

As the columns "hot" of `invconv bench gpu`: a graph holds 40 calls, its time is divided by 40.
Per shape: the inverse; the inverse with taps that were folded before, and the folding by
itself; our forward; torch's grouped one; a 1×1; the host's time of an eager call and a layer's.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from invconv import FInC, solve_triangular_conv2d, triangular_conv2d
from invconv.solvers.cuda import driver
from invconv.solvers.cuda.arguments import pack
from invconv.solvers.cuda.inverse import plan_solve
from invconv.solvers.cuda.plan import Forced, Plan, sized_problem
from invconv.solvers.problem import CORNERS, parse_problem

Call = Callable[[], object]
CALLS = 40
FINC = [(12, 16), (24, 8), (48, 4), (12, 32), (48, 16), (48, 32), (12, 64), (48, 64)]
FINC += [(12, 256), (12, 512)]
CINC = [(12, 16), (48, 16), (48, 32)]
"""Channels and image sizes."""


def per_call(call: Call, device: torch.device) -> tuple[float, float]:
    """Microseconds of a call inside a graph of `CALLS` of them: median and least."""
    if device.type == "cpu":
        start = time.perf_counter()
        call()
        return (1e6 * (time.perf_counter() - start),) * 2
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    times = []
    for _ in range(12):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        graph.replay()  # the device is busy when the first event is recorded
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(1e3 * start.elapsed_time(end) / CALLS)
    times.sort()
    return times[len(times) // 2], times[0]


def on_host(call: Call, device: torch.device) -> float:
    """Microseconds until an eager call returns."""
    warmup, repeats = (2, 10) if device.type == "cpu" else (20, 300)
    for _ in range(warmup):
        call()
    if device.type != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    host = 1e6 * (time.perf_counter() - start) / repeats
    if device.type != "cpu":
        torch.cuda.synchronize()
    return host


def prepared(
    z: Tensor, weight: Tensor, corners: str | tuple[str, ...], out: Tensor
) -> dict[str, Call]:
    """The launches of an inverse: the folding of the taps, and the solve by each plan."""
    problem = parse_problem(z, weight, None, corners, False, "z")
    shape = sized_problem(tuple(z.shape), tuple(weight.shape), problem, z.dtype)
    calls: dict[str, Call] = {}
    for name, streamed in (("tiles", False), ("streams", True)):
        plan = plan_solve(shape, driver.chip(0), Forced(folded=True, streamed=streamed))
        folded = torch.empty(plan.folded, dtype=torch.float32, device=z.device)

        def run(kernel: str, plan: Plan = plan, folded: Tensor = folded) -> None:
            addresses = (z.data_ptr(), weight.data_ptr(), out.data_ptr(), folded.data_ptr())
            for one in plan.launches:
                if one.kernel == kernel:
                    size = (one.blocks, one.threads, one.shared)
                    arguments = pack(addresses, one.fields, problem.corners)
                    driver.launch(0, plan.source, plan.options, kernel, *size, arguments)

        run("fold")
        calls |= {name: partial(run, "solve"), "fold": partial(run, "fold")}
    return calls


@torch.no_grad()
def measure(kind: str, c: int, n: int, batch: int, device: torch.device) -> dict[str, object]:
    """All times of one shape; instead of one that failed, why it did."""
    groups, corners = (4, CORNERS) if kind == "finc" else (1, "tl")
    weight = 0.05 * torch.randn(c, c // groups, 3, 3)
    last = weight[:, :, -1, -1].view(groups, c // groups, c // groups)
    last.copy_(last.tril(-1) + torch.eye(c // groups))
    weight, point = weight.to(device), torch.randn(c, c, 1, 1, device=device)
    x = torch.randn(batch, c, n, n, device=device)
    z = triangular_conv2d(x, weight, corners=corners)
    out = torch.empty_like(z)
    calls: dict[str, Call] = {
        "inverse": lambda: solve_triangular_conv2d(z, weight, corners=corners, out=out),
        "forward": lambda: triangular_conv2d(x, weight, corners=corners, out=out),
        "torch_grouped": lambda: F.conv2d(x, weight, padding=2, groups=groups),
        "pointwise": lambda: F.conv2d(x, point),
    }
    if device.type == "cuda":
        calls |= prepared(z, weight, corners, out)
    row: dict[str, object] = {"kind": kind, "c": c, "n": n, "batch": batch}
    for name, call in calls.items():
        try:
            row[name], row[f"{name}_least"] = per_call(call, device)
        except Exception as error:  # one time is lost, not the run
            row[name] = f"{type(error).__name__}: {error}"[:80]
    row["eager_host"] = on_host(calls["inverse"], device)
    if kind == "finc":
        layer = FInC(c).to(device).eval()
        row["layer_host"] = on_host(lambda: layer.inverse(z), device)
    return row


def rows(device: torch.device) -> Iterator[dict[str, object]]:
    """The times of all shapes; on a CPU of a few."""
    few = 2 if device.type == "cpu" else None
    for kind, shapes in (("finc", FINC), ("cinc", CINC)):
        for (c, n), batch in product(shapes[:few], (1, 100)):
            yield measure(kind, c, n, batch, device)


def main() -> None:
    """Measures all shapes and writes the file after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cpu", action="store_true", help="try the script on a few shapes")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    found = []
    for row in rows(torch.device("cpu" if options.cpu else "cuda")):
        found.append(row)
        options.out.write_text(json.dumps(found), encoding="utf-8")
        times = {name: value for name, value in row.items() if isinstance(value, float)}
        said = " ".join(f"{k} {v:.1f}" for k, v in times.items() if not k.endswith("_least"))
        print(f"{row['kind']} C={row['c']} n={row['n']} B={row['batch']}: {said}", flush=True)


if __name__ == "__main__":
    main()
