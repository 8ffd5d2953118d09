"""Everything about one layer: its conformance, what it stores and computes, and its times."""

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from invconv.assessing import report
from invconv.assessing.target import Target, find
from invconv.assessing.timing import QUICK, Timing, time_with_glow
from invconv.bench import Clock
from invconv.bench.counting import count_inverse, count_log_det, count_parameters
from invconv.bench.quiet import busy_machine
from invconv.conv import InvertibleConv, Shape, build
from invconv.numerical import relative_error
from invconv.rows import Block, Values
from invconv.rows.provenance import provenance
from invconv.rows.status import Status, describe
from invconv.testing import Outcome, conformance
from invconv.validation import check_count

COMPILER = "aot_eager"
"""Traces and differentiates as inductor does, and needs no C++ compiler."""
SLOW = ("torch_compile", "exported_with_any_batch")
COUNTED = (
    *("stored", "free", "dependent_steps", "inverse_operations", "log_det_operations"),
    "round_trip_error",
)
SMALL = 16
"""Images with a smaller side get a flow of one level, other ones two."""


@dataclass(frozen=True)
class Assessment:
    """What was found out about a layer.

    Attributes:
        target: the layer.
        shapes: of the images of the checks.
        checks: what became of each check of `invconv.testing.CHECKS`.
        counted_shape: (C, H, W) of what was counted.
        counted: columns of table 1, None where there is no such number.
        uncounted: the same names → why there is no number.
        timing: what was to be timed.
        block: the times; None where there are none.
        untimed: one sentence why there are no times, or why they do not count; otherwise "".
        provenance: where and with what all this was measured.
    """

    target: Target
    shapes: Sequence[Shape]
    checks: Sequence[Outcome]
    counted_shape: Shape
    counted: Values
    uncounted: Mapping[str, str]
    timing: Timing
    block: Block | None
    untimed: str
    provenance: Values

    @property
    def failed(self) -> list[str]:
        """The names of the checks that failed."""
        return [one.name for one in self.checks if one.status == "failed"]

    def __str__(self) -> str:
        """What `python -m invconv assess` prints."""
        return report.text(self)

    def latex(self) -> str:
        """One line of a table in LaTeX, its columns in a comment above."""
        return report.latex(self)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return report.as_dict(self)


def assess(
    layer: str | type[nn.Module],
    options: Mapping[str, Any] | None = None,
    *,
    channels: int = 3,
    size: int = 32,
    batch: int = 100,
    shapes: Sequence[Shape] = (),
    quick: bool = False,
    allow_noisy: bool = False,
    device: torch.device | str = "cpu",
) -> Assessment:
    """Check a layer against the contract, count it, and time it against Glow.

    The layer is any `torch.nn.Module` with ``forward(x) -> (z, log_det)`` and ``inverse(z) -> x``
    that is built by ``Layer(channels, **options)`` or, if it has that,
    ``Layer.from_shape((C, H, W), **options)``. A layer that fails a check is not timed.

    Args:
        layer: "package.module:Class", "file.py:Class", a registered name, or the class.
        options: of its constructor.
        channels, size: of the images, (channels, size, size). The layer is counted for
            4 · channels channels, as in the first level of a flow, and size × size pixels.
        batch: how many images are timed at once.
        shapes: (C, H, W) of the images of the checks; by default tiny ones that the layer takes.
        quick: whether to omit the slowest checks and to time few rounds in one process.
        allow_noisy: whether times count, marked as noisy, although others compute meanwhile.
        device: where the layer runs.

    Raises:
        TargetError: if the layer cannot be found or built.
        ValueError: for a size, number or shape below 1.

    >>> import invconv
    >>> found = invconv.assess("glow", size=8, batch=2, shapes=[(2, 3, 2)], quick=True)
    >>> found.failed, found.counted["free"]
    ([], 144)
    """
    for name, count in {"channels": channels, "size": size, "batch": batch}.items():
        check_count(count, name)
    target, where = find(layer, options), torch.device(device)
    shapes = shapes or target.shapes()
    why = "takes seconds, and quick was asked for"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checks = conformance(
            target.build,
            shapes,
            device=where,
            skip=dict.fromkeys(SLOW, why) if quick else None,
            compiler=COMPILER,
        )
        shape = (4 * channels, size, size)
        counted, uncounted = _counted(target, shape)
    levels = 1 if size < SMALL else 2
    clock = QUICK if quick else Clock(processes=3)
    clock = Clock(**{**vars(clock), "allow_noisy": allow_noisy})
    image = (channels, size, size)
    timing = Timing(layer, target.options, image, batch, levels, 4, 64, clock)
    failed = [one.name for one in checks if one.status == "failed"]
    block, untimed = _timed(timing, where, failed)
    return Assessment(
        target,
        shapes,
        checks,
        shape,
        counted,
        uncounted,
        timing,
        block,
        untimed,
        provenance(where),
    )


def _timed(
    timing: Timing, device: torch.device, failed: Sequence[str]
) -> tuple[Block | None, str]:
    """The times, and why there are none or why they do not count."""
    if failed:
        return None, f"a layer is timed when it passes its checks, and {len(failed)} failed"
    if not timing.clock.allow_noisy and device.type == "cpu" and (busy := busy_machine()):
        return None, busy
    try:
        block = time_with_glow(timing, device)
    except Exception as error:  # of the layer, whatever it is
        return None, describe(error)
    wrong = [part.reason for part in block.parts.values() if part.status != Status.OK]
    return block, wrong[0] if wrong else block.noisy


def _counted(target: Target, shape: Shape) -> tuple[Values, dict[str, str]]:
    """What `invconv.tables.table1` counts of a layer, and why not."""
    values: Values = {}
    reasons: dict[str, str] = {}
    try:
        torch.manual_seed(0)
        layer = build(target.conv, shape, **target.options)
        own = target.build(shape)
    except Exception as error:
        return dict.fromkeys(COUNTED), dict.fromkeys(COUNTED, describe(error))

    def count(names: Sequence[str], call: Callable[[], Sequence[float | None]]) -> None:
        try:
            values.update(zip(names, call(), strict=True))
        except Exception as error:
            values.update(dict.fromkeys(names))
            reasons.update(dict.fromkeys(names, describe(error)))

    count(("stored", "free"), lambda: count_parameters(layer, shape))
    count(("dependent_steps",), lambda: [_steps(own, shape)])
    stated = getattr(type(own), "dependent_steps", InvertibleConv.dependent_steps)
    ours = type(own).__module__.startswith("invconv.")
    if stated is InvertibleConv.dependent_steps and not ours:
        reasons.setdefault("dependent_steps", "not stated: define dependent_steps(height, width)")
    count(("inverse_operations",), lambda: [count_inverse(layer, shape)])
    count(("log_det_operations",), lambda: [count_log_det(layer, shape)])
    count(("round_trip_error",), lambda: [_round_trip(own, shape)])
    values["exact"] = "exact" if getattr(own, "exact", True) else "approx"
    return values, reasons


def _steps(layer: Any, shape: Shape) -> int | None:
    """The dependent steps of the inverse as the layer states them, None if it does not."""
    return int(layer.dependent_steps(*shape[1:])) if hasattr(layer, "dependent_steps") else None


@torch.no_grad()
def _round_trip(layer: Any, shape: Shape) -> float:
    double = copy.deepcopy(layer).double()
    x: Tensor = torch.randn(2, *shape, dtype=torch.float64)
    error = relative_error(double.inverse(double(x)[0]), x)
    if not math.isfinite(error):
        raise ArithmeticError("the inverse is not finite")
    return error
