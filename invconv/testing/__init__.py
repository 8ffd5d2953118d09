"""The conformance kit: anyone's invertible convolution, checked against the contract.

>>> import invconv
>>> from invconv.testing import check_invertible_conv
>>> check_invertible_conv(
...     lambda shape: invconv.build("finc", shape),
...     shapes=[(4, 2, 3)],
...     skip={"torch_compile": "takes seconds"},
... )
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from invconv.conv import Shape
from invconv.testing import caches, formats, gradients, inputs, state, transforms, values
from invconv.testing.case import Case, Factory
from invconv.validation import check_choice, check_shape

__all__ = ["CHECKS", "Outcome", "check_invertible_conv", "conformance"]

CHECKS: dict[str, Callable[[Case], None]] = {
    function.__name__: function
    for part in (values, gradients, inputs, formats, state, caches, transforms)
    for function in part.CHECKS
}
"""Every check by its name, in the order in which they run."""


@dataclass(frozen=True)
class Outcome:
    """What became of one check.

    Attributes:
        name: of the check, in `CHECKS`.
        status: "passed", "failed" or "skipped".
        reason: of a failure, one line with the first shape and dtype at which it fails; of a
            check that was skipped, why.
        error: what a failed check raised.

    >>> from invconv.testing import Outcome
    >>> Outcome("shapes", "skipped", "known")
    Outcome(name='shapes', status='skipped', reason='known', error=None)
    """

    name: str
    status: Literal["passed", "failed", "skipped"]
    reason: str = ""
    error: Exception | None = None


def check_invertible_conv(
    factory: Factory,
    shapes: Sequence[Shape],
    dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32),
    *,
    device: torch.device | str = "cpu",
    skip: Mapping[str, str] | None = None,
    perturb: float = 0.1,
    compiler: str = "inductor",
) -> None:
    """Run every check of the contract (`invconv.conv.InvertibleConv`) on a layer.

    The layer is any `nn.Module` with ``forward(x) -> (z, log_det)`` and ``inverse(z) -> x``;
    `exact`, `constant_log_det`, `initialize` and what else the contract leaves open is believed,
    and then checked, where it is there. Each check in `CHECKS` is a function whose docstring says
    what it asks for. Take tiny shapes, uneven ones among them: dense Jacobians are computed.

    Args:
        factory: called with (C, H, W) whenever a new layer is needed; it returns the layer.
        shapes: of the images.
        dtypes: of parameters and images. Gradients are compared with finite differences for
            float64, with those of a copy in float64 for others; `float32_error` and `autocast`
            run for float32.
        device: where the layer runs; on a GPU switch TF32 off, or `float32_error` sees it.
        skip: name of a check → the reason why the layer is excused.
        perturb: the standard deviation of the noise that is added to every parameter first:
            whatever an optimizer may do must leave the layer invertible.
        compiler: the backend of `torch.compile`.

    Raises:
        AssertionError: if a check fails. Each failed check has one line, its name in brackets,
            with the first shape and dtype at which it fails; the cause holds the tracebacks.
        ValueError: for a name in ``skip`` that is no check, a missing reason, or no shapes.

    >>> from invconv import FInC
    >>> from invconv.testing import check_invertible_conv
    >>> why = {"torch_compile": "takes seconds"}
    >>> check_invertible_conv(lambda shape: FInC(shape[0]), [(4, 3, 2)], skip=why)
    """
    found = conformance(
        factory, shapes, dtypes, device=device, skip=skip, perturb=perturb, compiler=compiler
    )
    failures = [one for one in found if one.error is not None]
    if failures:
        lines = [f"[{one.name}] {one.reason}" for one in failures]
        errors = [one.error for one in failures if one.error is not None]
        raise AssertionError("\n".join(lines)) from ExceptionGroup("failed checks", errors)


def conformance(
    factory: Factory,
    shapes: Sequence[Shape],
    dtypes: Sequence[torch.dtype] = (torch.float64, torch.float32),
    *,
    device: torch.device | str = "cpu",
    skip: Mapping[str, str] | None = None,
    perturb: float = 0.1,
    compiler: str = "inductor",
) -> list[Outcome]:
    """Run the checks of `check_invertible_conv`, and return what became of each of `CHECKS`.

    Args and Raises are those of `check_invertible_conv`, but a failed check raises nothing.

    >>> import torch
    >>> from invconv import FInC
    >>> from invconv.testing import conformance
    >>> why = {"torch_compile": "takes seconds"}
    >>> found = conformance(lambda s: FInC(s[0]), [(4, 3, 2)], [torch.float64], skip=why)
    >>> {one.status for one in found}
    {'passed', 'skipped'}
    """
    excused = dict(skip or {})
    for name, reason in excused.items():
        check_choice(name, CHECKS, "check")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"skip[{name!r}] must say why, not {reason!r}")
    if not shapes or not dtypes:
        raise ValueError("shapes and dtypes must name at least one each")
    most = max(math.prod(check_shape(shape)) for shape in shapes)
    where = torch.device(device)
    cases = [
        Case(factory, shape, dtype, where, perturb, compiler, math.prod(shape) == most)
        for shape in shapes
        for dtype in dtypes
    ]
    cpu = where.type == "cpu"
    devices = range(0 if cpu else torch.get_device_module(where).device_count())
    with torch.random.fork_rng(devices, device_type="cuda" if cpu else where.type):
        return [
            Outcome(name, "skipped", excused[name]) if name in excused else _outcome(name, cases)
            for name in CHECKS
        ]


def _outcome(name: str, cases: Sequence[Case]) -> Outcome:
    """Run one check on all cases, up to the first at which it fails."""
    for case in cases:
        try:
            with torch.enable_grad():
                CHECKS[name](case)
        except Exception as error:
            kind = "" if type(error) is AssertionError else f"{type(error).__name__}: "
            said = " ".join(str(error).split())
            dtype = str(case.dtype).removeprefix("torch.")
            return Outcome(name, "failed", f"shape {case.shape}, {dtype}: {kind}{said}", error)
    return Outcome(name, "passed")
