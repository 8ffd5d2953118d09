"""What `python -m invconv evaluate` prints."""

from collections.abc import Sequence

import pandas as pd

from invconv.report import entries as en
from invconv.report.entries import Grid
from invconv.report.ranking import mean_difference
from invconv.training.evaluation import Assessment


def text(assessments: Sequence[Assessment]) -> str:
    """A table of the checkpoints, and the differences between the methods among them.

    The first method stands for the baseline unless "glow" is among them. Differences are paired
    by seed where two methods share at least two, otherwise by image, where both were trained
    once: then they say nothing about another seed.
    """
    groups: dict[tuple[str, str], list[Assessment]] = {}
    for one in assessments:
        groups.setdefault((one.method, one.setting), []).append(one)
    parts = [str(Grid([_line(one) for one in assessments]))]
    for (method, _), members in groups.items():
        means = pd.Series([one.bits.mean().item() for one in members])
        if len(means) > 1:
            over = f"(mean ± standard deviation over {len(means)} seeds)"
            parts.append(f"{method}: {means.mean():.4f} ± {means.std():.4f} {over}")
    baseline, *_ = sorted(groups.values(), key=lambda members: members[0].method != "glow")
    parts += [_compared(group, baseline) for group in groups.values() if group is not baseline]
    return "\n\n".join(parts)


def _line(one: Assessment) -> dict[str, str]:
    error = one.bits.std().item() / len(one.bits) ** 0.5
    bound = "" if one.samples == 1 else f", bound of {one.samples} samples"
    return {
        "checkpoint": str(one.path),
        "method": one.method,
        "seed": str(one.seed),
        "data": f"{one.data} {one.split}",
        "images": str(len(one.bits)),
        "bpd": en.bits(one.bits.mean().item()),
        "standard error": f"{error:.4f}",
        "dequantization": one.dequantization + bound,
    }


def _compared(members: Sequence[Assessment], baseline: Sequence[Assessment]) -> str:
    first, other = members[0], baseline[0]
    name = f"{first.method} − {other.method}"
    if (first.data, first.split) != (other.data, other.split):
        return f"{name}: other data, not compared"
    ours, theirs = ({one.seed: one.bits for one in group} for group in (members, baseline))
    common = sorted(ours.keys() & theirs.keys())
    what, pairs = "images of one training each", (first.bits - other.bits).tolist()
    if len(common) > 1:
        what, pairs = "seeds", [(ours[seed] - theirs[seed]).mean().item() for seed in common]
    found = mean_difference(pd.Series(pairs))
    if found is None:
        return f"{name}: too few to compare"
    verdict = "resolved"
    if not found.resolved():
        verdict = f"not resolved; {found.detectable():.4f} would have been, in 80 % of such trials"
    return f"{name}: {found}, 95 % over {found.pairs} {what}: {verdict}"
