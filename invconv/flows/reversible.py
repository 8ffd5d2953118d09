"""Training in memory that does not grow with depth: backward passes that invert.

An ordinary backward pass needs the activations of every part of a flow. Here a `Chain` of parts
keeps its output alone; going back, each part's input is recomputed by its inverse, after
"The Reversible Residual Network" (Gomez et al., arXiv 1707.04585, section 3.2). What rounding
errors do to it is measured on the way, and an input that drifts too far is stored instead.
"""

from collections.abc import Sequence
from itertools import accumulate, groupby

import torch

from invconv.bijection import Bijection
from invconv.flows.chain import Chain, Reversible
from invconv.modes import is_plain
from invconv.validation import check_choice

MEMORY = ("ordinary", "reversible", "auto")


def in_chains(
    parts: Sequence[tuple[str, Bijection]], memory: str, found: Reversible
) -> list[Bijection | Chain]:
    """The parts in order, as many as possible of them in chains.

    A chain ends where channels leave. A part that is not exact, or that has an `extra_loss`, keeps
    its activations as usual.

    Args:
        parts: with their places, as `LevelFlow.parts` gives them.
        memory: one of `MEMORY`; with "reversible" a chain raises where "auto" stores.
        found: what earlier steps found, to which is added.

    Raises:
        RuntimeError: if torch does not compute eagerly.
        ValueError: for another word.
    """
    if check_choice(memory, MEMORY, "memory") == "ordinary" or not torch.is_grad_enabled():
        return [part for _, part in parts]
    if not is_plain():
        raise RuntimeError(
            f"memory={memory!r} works in eager mode alone: leave out torch.compile and "
            'torch.func, or take memory="ordinary"'
        )
    found.drift, found.used = 0.0, 0
    levels = accumulate((part.leaving > 0 for _, part in parts), initial=0)
    kinds = [
        (level, -1 if _is_reversible(part) else i)
        for i, (level, (_, part)) in enumerate(zip(levels, parts, strict=False))
    ]
    together: list[Bijection | Chain] = []
    for (_, place), group in groupby(range(len(parts)), kinds.__getitem__):
        if place < 0:
            own = list(group)
            chain = Chain(own[0], [parts[i] for i in own], found, memory == "auto")
            together.append(chain)
        else:
            together.append(parts[place][1])
    return together


def _is_reversible(part: Bijection) -> bool:
    return part.exact and all(
        type(one).extra_loss is Bijection.extra_loss for one in part.chained()
    )
