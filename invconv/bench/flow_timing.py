"""Forward time (FT) and sampling time (ST) of a whole flow."""

from typing import Any

import torch
from torch import Tensor

from invconv.bench.cells import Incorrect
from invconv.bench.timing import time_interleaved
from invconv.flows import LevelFlow
from invconv.solvers import relative_error

ROUND_TRIP_TOLERANCE = 1e-3


def round_trip_error(flow: LevelFlow, images: Tensor) -> float:
    """‖decode(encode(y)) − y‖ / ‖y‖ for the dequantised ``images``.

    Raises:
        Incorrect: if it exceeds 1e-3 (float32) or is not finite.
    """
    generator = torch.Generator(images.device).manual_seed(0)
    with torch.no_grad():
        dtype = next(flow.parameters()).dtype
        y, _ = flow.dequantization(images, dtype, generator)
        error = relative_error(flow.decode(flow.encode(y)[0]), y)
    if not error <= ROUND_TRIP_TOLERANCE:
        raise Incorrect(
            f"the round trip through the flow has relative error {error:.1e}, more than "
            f"{ROUND_TRIP_TOLERANCE:.0e}"
        )
    return error


def time_flow(
    flow: LevelFlow, images: Tensor, warmup: int = 2, repeats: int = 20
) -> dict[str, Any]:
    """Proves the round trip, then times the flow on as many images as are given.

    One forward pass is `LevelFlow.log_prob` of ``images`` without gradients, one sampling
    pass draws as many; both in eval mode. The forward pass stands in the block twice (A/A). The
    training step, forward and backward of the same batch, has a block of its own.

    Returns:
        Seconds: ft_s, st_s and train_step_s (medians) with their quartiles (…_q25_s, …_q75_s);
        aa_spread, |1 − ratio| of the two forward passes; round_trip_error; on a GPU
        peak_memory_bytes of the block.
    """
    device = images.device
    n = len(images)
    flow.eval()
    values: dict[str, Any] = {"round_trip_error": round_trip_error(flow, images)}

    @torch.no_grad()
    def forward() -> Tensor:
        return flow.log_prob(images)

    def step() -> None:
        flow.train()
        flow.log_prob(images).sum().backward()
        flow.zero_grad()
        flow.eval()

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    passes = {"ft": forward, "st": lambda: flow.sample(n), "again": forward}
    timings = time_interleaved(passes, device, warmup, repeats)
    timings |= time_interleaved({"train_step": step}, device, warmup, repeats)
    if device.type == "cuda":
        values["peak_memory_bytes"] = torch.cuda.max_memory_allocated(device)
    again = timings.pop("again")
    for name, timing in timings.items():
        values[f"{name}_s"] = timing.median
        values[f"{name}_q25_s"] = timing.q25
        values[f"{name}_q75_s"] = timing.q75
    values["aa_spread"] = abs(1 - again.median / timings["ft"].median)
    values["timed_images"] = n
    values["repeats"] = repeats
    return values
