"""Forward time (FT) and sampling time (ST) of whole flows, side by side."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from invconv.bench.blocks import Measured, Process, guarded_parts
from invconv.bench.clock import Call, Clock, Timed, time_calls
from invconv.bench.counting import convolutions
from invconv.bench.memory import peak_extra_bytes
from invconv.bench.ratios import Ratio
from invconv.bench.verification import verify_parts, verify_round_trip
from invconv.flows import LevelFlow
from invconv.rows import Values

VERIFIED = 16
"""How many of the timed images the round trips are verified on."""
KINDS = ("ft", "ft_cold", "st", "st_published", "train_step")
"""The calls of a flow, see `FlowCalls`."""
RARE = ("ft_cold", "train_step")
"""Calls that take part in a few rounds."""
AGAIN = "_again"
"""What the name of a call ends with that is timed twice."""


def use_method(flow: LevelFlow, method: str) -> bool:
    """Let ``method``, or "published" ones, invert every convolution of ``flow`` that has it.

    Returns:
        Whether there is such a convolution. Nothing is changed, and the answer is False, where
        the method of one cannot run here.
    """
    parts, device = convolutions(flow), next(flow.parameters()).device
    before = [part.inverse_method for part in parts]
    known = [part for part in parts if method in part.inverse_methods()]
    for part in known:
        part.inverse_method = method
    if any(part.unavailable(device) for part in known):
        for part, old in zip(parts, before, strict=True):
            part.inverse_method = old
        return False
    return bool(known)


@contextmanager
def published_inverses(flow: LevelFlow) -> Iterator[bool]:
    """Invert by the papers' algorithms inside; False where there is none that can run here."""
    before = [(part, part.inverse_method) for part in convolutions(flow)]
    try:
        yield use_method(flow, "published")
    finally:
        for part, method in before:
            part.inverse_method = method


def verify_flow(flow: LevelFlow, images: Tensor) -> Values:
    """Verify a flow before it is timed, by our inverses and by its paper's.

    As it is, see `verify_round_trip`, and every part alone on perturbed weights, see
    `verify_parts`; the errors of the papers' algorithms have names that begin with "published".
    It is in eval mode afterwards.

    Raises:
        Incorrect: if one of them fails.
    """
    flow.eval()
    images = images[:VERIFIED]
    values = verify_round_trip(flow, images) | verify_parts(flow, images)
    with published_inverses(flow) as known:
        if known:
            errors = {**verify_round_trip(flow, images), **verify_parts(flow, images, False)}
            for old, new in (
                ("round_trip_error", ""),
                ("perturbed_round_trip_error", "_perturbed"),
            ):
                if old in errors:
                    values[f"published_round_trip{new}"] = errors[old]
    return values


class FlowCalls:
    """The calls of one flow that a block times; `before` prepares each outside the clock.

    ft is a forward pass: `LevelFlow.log_prob` of the images without gradients, in eval mode, so
    that whatever depends on parameters alone is cached; ft_cold is the same in training mode,
    which computes W⁻¹, log|det W| and the like again. st draws as many images; st_published does
    so by the papers' algorithms, where one can run here. train_step is a forward and backward
    pass in training mode; the gradients of the step before are dropped outside the clock.

    Args:
        flow: it is in eval mode afterwards.
        images: (B, C, H, W), integers.
        kinds: which of these calls.
    """

    def __init__(self, flow: LevelFlow, images: Tensor, kinds: Collection[str] = KINDS) -> None:
        self.flow, self.images, self.infinite = flow, images, 0
        forward = partial(torch.no_grad()(flow.log_prob), images)
        calls: dict[str, Call] = {"ft": forward, "ft_cold": forward, "st": self.sample}
        with published_inverses(flow) as known:
            if known:
                calls["st_published"] = partial(flow.sample, len(images), only_finite=True)
        calls["train_step"] = self.step
        self.calls = {kind: call for kind, call in calls.items() if kind in kinds}

    def sample(self) -> None:
        """Draw as many images; those that are not finite are counted."""
        finite = self.flow.sample(len(self.images), only_finite=True)
        self.infinite = max(self.infinite, len(self.images) - len(finite))

    def step(self) -> None:
        """One forward and backward pass."""
        self.flow.log_prob(self.images).sum().backward()

    def before(self, kind: str) -> None:
        """Switch the flow to what ``kind`` needs, and drop gradients."""
        self.flow.zero_grad(set_to_none=True)
        use_method(self.flow, "published" if kind == "st_published" else "auto")
        self.flow.train(kind in RARE)

    def after(self) -> Values:
        """What a row says beside the times; the flow is in eval mode afterwards."""
        values: Values = {"timed_images": len(self.images), "samples_not_finite": self.infinite}
        if "train_step" in self.calls:
            self.before("train_step")
            values["train_step_extra_bytes"] = peak_extra_bytes(self.step, self.images.device)
        self.before("ft")
        return values


def time_together(
    flows: Mapping[str, FlowCalls],
    device: torch.device,
    clock: Clock,
    process: Process,
    reference: str,
    end: str = "",
) -> Timed:
    """Time the calls of several flows in one block, each named ``flow/kind`` and ``end``.

    Those of the ``reference`` that others are divided by are there twice, for A/A.
    """
    calls = {
        f"{n}/{kind}{end}": run for n, flow in flows.items() for kind, run in flow.calls.items()
    }
    if reference in flows:
        twins = {kind: run for kind, run in flows[reference].calls.items() if kind in ("ft", "st")}
        calls |= {f"{reference}/{kind}{end}{AGAIN}": run for kind, run in twins.items()}

    def before(name: str) -> None:
        flow, _, call = name.partition("/")
        flows[flow].before(call.removesuffix(AGAIN).removesuffix(end))

    few = {name for name in calls if name.partition("/")[2].removesuffix(end) in RARE}
    return time_calls(calls, device, clock, few=few, before=before, seed=process.number)


def time_flows(
    names: Iterable[str],
    build: Callable[[str], tuple[LevelFlow, Values]],
    images: Tensor,
    timed: int,
    clock: Clock,
    process: Process,
    reference: str,
    label: str = "method",
    kinds: Collection[str] = KINDS,
) -> Measured:
    """Verify whole flows and time them in one block, a part of the cell for each.

    Args:
        names: of the parts.
        build: makes the flow of a name, initialized, and what its row says of it.
        images: (B, C, H, W), integers; ``timed`` of them are timed.
        label: the column with the name.
    """
    flows = dict[str, FlowCalls]()

    def prepare(name: str) -> Values:
        flow, values = build(name)
        flow.eval()
        values = {**values, **verify_flow(flow, images[:timed])} if process.first else {}
        flows[name] = FlowCalls(flow, images[:timed], kinds)
        return values

    parts = guarded_parts({name: {label: name} for name in names}, process, prepare)
    found = time_together(flows, images.device, clock, process, reference)
    for name, flow in flows.items():
        parts[name] = replace(parts[name], values={**parts[name].values, **flow.after()})
    return Measured([found], parts=parts)


def flow_ratios(reference: str, end: str = "") -> list[Ratio]:
    """Return what is divided: by the reference's time, and within a flow."""

    def ratio(above: str, below: str, name: str) -> Ratio:
        return Ratio(name, f"*/{above}{end}", f"{below}{end}")

    to = f"{end}_vs_{reference}"
    return [
        *(ratio(kind, f"{reference}/{kind}", kind + to) for kind in ("ft", "st", "train_step")),
        ratio("st_published", f"{reference}/st", f"st_published{to}"),
        ratio("st", "*/ft", f"st{end}_vs_ft"),
        ratio("ft_cold", "*/ft", f"ft_cold{end}_vs_ft"),
        ratio("st_published", "*/st", f"st_published{end}_vs_st"),
        *(Ratio(f"aa_{x}{end}", f"*/{x}{end}{AGAIN}", f"*/{x}{end}") for x in ("ft", "st")),
    ]
