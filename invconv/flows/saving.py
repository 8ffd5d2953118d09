"""Flows in files: saved with what is needed to build them again, and loaded."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from invconv.about import Options
from invconv.files import brief, user_path
from invconv.flows.files import (
    CheckpointError,
    check_weights,
    is_plain,
    read_checkpoint,
    save_atomically,
)
from invconv.validation import check_choice, whole

if TYPE_CHECKING:
    from invconv.flows.level_flow import LevelFlow

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
FLOWS: "dict[str, type[LevelFlow]]" = {}
"""The flows that a file can name, by the ``kind`` that each class gives itself."""


def remember_arguments(cls: "type[LevelFlow]") -> None:
    """Let every flow of ``cls`` have ``arguments``, those of its constructor, as plain values."""
    init: Callable[..., None] = cls.__init__
    signature = inspect.signature(init)

    @functools.wraps(init)
    def remembering(self: "LevelFlow", *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        if type(self) is cls:
            bound = signature.bind(self, *arguments, **options)
            bound.apply_defaults()
            self.arguments = {name: _plain(v) for name, v in [*bound.arguments.items()][1:]}

    cls.__init__ = remembering  # type: ignore[method-assign]


def _plain(value: object) -> object:
    """A copy of what can be copied to plain values."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return (tuple if isinstance(value, tuple) else list)(map(_plain, value))
    number = whole(value)
    return value if number is None else number


def build_flow(arguments: Options) -> "LevelFlow":
    """A flow from plain values: ``kind``, a name in `FLOWS`, and its constructor's arguments."""
    rest = dict(arguments)
    return FLOWS[check_choice(rest.pop("kind"), FLOWS, "kind of flow")](**rest)


def architecture(flow: "LevelFlow") -> dict[str, Any]:
    """The arguments of `build_flow` that make another flow like this one.

    Raises:
        TypeError: as `LevelFlow.save` does.
    """
    if FLOWS.get(flow.kind) is not type(flow):
        name = type(flow).__name__
        raise TypeError(
            f"a file cannot name the class {name}: declare it as class {name}(..., "
            f'kind="{name.lower()}"), or save its state_dict() and build the flow yourself'
        )
    for name, value in flow.arguments.items():
        if not is_plain(value):
            raise TypeError(
                f"a file holds numbers, texts, lists and dictionaries, and {name} of this flow is "
                f"{value!r:.80}: build the flow from such values to save it"
            )
    return {"kind": flow.kind, **flow.arguments}


def save_flow(flow: "LevelFlow", path: str | Path) -> None:
    """See `LevelFlow.save`."""
    recipe = {"flow": architecture(flow)}
    save_atomically({"flow": flow.state_dict(), "recipe": recipe}, user_path(path))


def load(path: str | Path, device: torch.device | str = "cpu") -> "LevelFlow":
    """Build the flow that `LevelFlow.save` or a training wrote to a file.

    Nothing in the file is executed: it holds tensors and plain values only, whose checksums are
    compared. Import your own convolutions, which register themselves, and flows before.

    Args:
        path: a file of `LevelFlow.save`, or a ``best.pt`` or ``last.pt`` of
            `invconv.training.train`; of the last the best validated weights are taken.
        device: where the flow shall be.

    Returns:
        The flow with its weights, in the dtype in which they were saved and in training mode.

    Raises:
        CheckpointError: if the file is truncated or damaged, or of something else.

    >>> import tempfile, torch, invconv
    >>> flow = invconv.flows.MultiScaleFlow("finc", (1, 8, 8), levels=1, steps=1, width=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     flow.save(f"{folder}/flow.pt")
    ...     again = invconv.flows.load(f"{folder}/flow.pt")
    >>> images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    >>> noise = torch.Generator()
    >>> with torch.no_grad():
    ...     truth = flow.log_prob(images, noise.manual_seed(0))
    ...     torch.equal(again.log_prob(images, noise.manual_seed(0)), truth)
    True
    """
    return load_with_recipe(user_path(path), device)[0]


def load_with_recipe(
    path: Path, device: torch.device | str = "cpu"
) -> "tuple[LevelFlow, dict[str, Any]]":
    """`load`, and the recipe by which the flow was trained.

    Raises:
        CheckpointError: as `load` does.
    """
    saved = read_checkpoint(path, flow=Mapping, recipe=dict)
    recipe = saved["recipe"]
    if "flow" not in recipe:
        raise CheckpointError(f"{path} does not say of which architecture its weights are")
    best = saved.get("best", {})
    if not isinstance(best, Mapping):
        raise CheckpointError(f"{path} is not a checkpoint of this kind: its 'best' is no mapping")
    flow = build_with_weights(recipe["flow"], best or saved["flow"], str(path))
    return flow.to(device), recipe


def build_with_weights(
    architecture: Options, weights: Mapping[str, object], origin: str
) -> "LevelFlow":
    """The flow of `build_flow` with ``weights``, which come from ``origin``.

    Raises:
        CheckpointError: if the flow cannot be built, or the weights are not its own.
    """
    try:
        flow = _built(architecture, weights, origin)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"the architecture that {origin} names cannot be built ({brief(error)}); if it has a "
            "layer or flow of your own, import its module first"
        ) from error
    check_weights(flow, weights, origin)
    kinds = {value.dtype for value in weights.values() if isinstance(value, Tensor)}
    kinds = {dtype for dtype in kinds if dtype.is_floating_point}
    if len(kinds) == 1 and kinds <= {*DTYPES}:
        flow.to(kinds.pop())
    flow.load_state_dict(weights)
    return flow


def _built(architecture: Options, weights: Mapping[str, object], origin: str) -> "LevelFlow":
    """The flow, first without memory: what a file says may be larger than what it holds."""
    if _steps(architecture) > len(weights):
        raise CheckpointError(f"{origin} names an architecture of more steps than it has weights")
    try:
        with torch.device("meta"):
            planned = build_flow(architecture)
    except NotImplementedError:  # a layer of the user's own whose construction needs values
        return build_flow(architecture)
    check_weights(planned, weights, origin)
    return build_flow(architecture)


def _steps(value: object, counts: bool = False) -> int:
    """The sum of all numbers below a name "steps" or "layers"."""
    if isinstance(value, Mapping):
        return sum(
            _steps(part, counts or name in ("steps", "layers")) for name, part in value.items()
        )
    if isinstance(value, list | tuple):
        return sum(_steps(part, counts) for part in value)
    return max(value, 0) if counts and isinstance(value, int) else 0
