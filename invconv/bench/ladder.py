"""FInC's inverse in rungs, from the release's loop to ours, each of which changes one thing.

The clock of a rung runs from z and weight in float32 to x in float32. It includes all that depends
on their values: a float64 rung converts z, the weight and x, on one thread and into new memory,
since the release's loop takes float64 alone; a rung with lanes copies blocks of images so that the
image is the innermost dimension, and x back; ours folds and packs the weight. It excludes the
checks here and in `solve_triangular_conv2d`: every rung is called with addresses.

What a change gains depends on what came before it. Float32 gains little in a scalar loop, but a
register then holds twice as many images, which counts for the lanes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invconv.solvers import compiled
from invconv.solvers.problem import CORNERS, Problem, parse_problem


@dataclass(frozen=True)
class Rung:
    """One program for FInC's inverse.

    Attributes:
        after: the name of the rung to compare with; "" for the first one.
        change: what differs from that rung.
        function: the function of the extension that runs.
        options: more arguments of that function.
        all_threads: whether it runs on all threads of torch, or on one.
        double: whether it computes in float64.
    """

    after: str
    change: str
    function: str
    options: Mapping[str, object]
    all_threads: bool = False
    double: bool = False

    @property
    def threads(self) -> int:
        """The number of threads that it uses."""
        return torch.get_num_threads() if self.all_threads else 1

    def __call__(self, z: Tensor, weight: Tensor, out: Tensor) -> Callable[[], Tensor]:
        """Prepare the call to time: it writes x into ``out`` and returns it.

        Args:
            z: (B, C, H, W), float32, contiguous, on the CPU.
            weight: (C, C/4, kh, kw), as z; top-left orientation, one group per name in `CORNERS`.
            out: (B, C, H, W), as z, and may be z.

        Raises:
            RuntimeError: if the compiled kernels are missing.
            TypeError, ValueError: if types, shapes, devices or strides do not fit.
        """
        if reason := compiled.missing(torch.device("cpu")):
            raise RuntimeError(f"the ladder needs the compiled kernels: {reason}")
        problem = _parse(z, weight, out)
        function, ours = getattr(compiled.extension(), self.function), self.function == "solve"
        arguments: dict[str, Any] = {"shape": z.shape, "weight_shape": weight.shape}
        arguments |= {"anchor": problem.anchor, "corners": bytes(problem.corners), "upper": False}
        strides = {"input_strides": z.stride(), "output_strides": out.stride()} if ours else {}
        names = ("input", "weight", "output") if ours else ("z", "weight", "x")
        given, taps, target = (tensor.detach() for tensor in (z, weight, out))

        def call() -> Tensor:
            tensors: tuple[Tensor, ...] = (given, taps, target)
            if self.double:
                z64, weight64 = (t.numpy().astype(np.float64) for t in (given, taps))
                arrays = z64, weight64, np.empty_like(z64)
                tensors = tuple(torch.from_numpy(array) for array in arrays)
            addresses = {name: t.data_ptr() for name, t in zip(names, tensors, strict=True)}
            function(**arguments, **strides, **addresses, **self.options, threads=self.threads)
            if self.double:
                target.numpy()[...] = tensors[2].numpy()
            return out

        return call


def _parse(z: Tensor, weight: Tensor, out: Tensor) -> Problem:
    if parse_problem(z, weight, None, "tl", False, "z").groups != len(CORNERS):
        raise ValueError(f"weight must have shape (C, C/4, kh, kw), not {tuple(weight.shape)}")
    if out.shape != z.shape:
        raise ValueError(f"out must have the shape of z, {tuple(z.shape)}, not {tuple(out.shape)}")
    for name, t in {"z": z, "weight": weight, "out": out}.items():
        if t.dtype != torch.float32 or t.device.type != "cpu" or not t.is_contiguous():
            form = f"{t.dtype}, {t.device}, strides {t.stride()}"
            raise ValueError(f"{name} must be float32, on the CPU and contiguous, not {form}")
    return parse_problem(z, weight, None, CORNERS, False, "z")


FLOAT, GENERIC = {"item_size": 4}, {"item_size": 4, "isa": "generic"}
RUNGS = {
    "release": Rung("", "float64, scalar, one thread, −O2", "diagonal_channel", {}, double=True),
    "o3": Rung("release", "−O2 → −O3", "diagonal_loop", {"item_size": 8}, double=True),
    "float32": Rung("o3", "float64 → float32", "diagonal_loop", FLOAT),
    "lanes": Rung("float32", "images as SIMD lanes, 16 bytes", "diagonal_lanes", GENERIC),
    "wide": Rung("lanes", "16 bytes → widest registers, FMA", "diagonal_lanes", FLOAT),
    "threads": Rung("wide", "one thread → all threads", "diagonal_lanes", FLOAT, all_threads=True),
    "ours": Rung("threads", "folded and blocked", "solve", FLOAT, all_threads=True),
    "ours_one_thread": Rung("wide", "folded and blocked, one thread", "solve", FLOAT),
}
"""The rungs in order; the last one, compared with "wide", is the algorithm's part alone."""
