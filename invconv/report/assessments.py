"""What `python -m invconv evaluate` prints."""

from collections.abc import Sequence

import pandas as pd

from invconv.report import entries as en
from invconv.report.entries import Grid
from invconv.report.seeds import Difference, mean_difference
from invconv.training.evaluation import Assessment


def text(assessments: Sequence[Assessment]) -> str:
    """A table of the checkpoints, and the differences between the methods among them.

    The first method stands for the baseline unless "glow" is among them. Differences are paired
    by seed where two methods share at least two, otherwise by image, where both were trained
    once: then they say nothing about another seed.
    """
    parts = [str(Grid([_line(one) for one in assessments]))]
    groups: dict[tuple[str, str], list[Assessment]] = {}
    for one in assessments:
        groups.setdefault((one.method, one.setting), []).append(one)
    parts += [_over_seeds(members) for members in groups.values() if len(members) > 1]
    named = list(groups.values())
    baseline = next((members for members in named if members[0].method == "glow"), named[0])
    parts += [_compared(members, baseline) for members in named if members is not baseline]
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


def _over_seeds(members: Sequence[Assessment]) -> str:
    means = pd.Series([one.bits.mean().item() for one in members])
    return (
        f"{members[0].method}: {means.mean():.4f} ± {means.std():.4f} "
        f"(mean ± standard deviation over {len(members)} seeds)"
    )


def _compared(members: Sequence[Assessment], baseline: Sequence[Assessment]) -> str:
    name = f"{members[0].method} − {baseline[0].method}"
    if (members[0].data, members[0].split) != (baseline[0].data, baseline[0].split):
        return f"{name}: other data, not compared"
    ours, theirs = ({one.seed: one.bits for one in group} for group in (members, baseline))
    common = sorted(ours.keys() & theirs.keys())
    if len(common) > 1:
        pairs = pd.Series([(ours[seed] - theirs[seed]).mean().item() for seed in common])
        return f"{name}: {_difference(mean_difference(pairs), 'seeds')}"
    pairs = pd.Series((members[0].bits - baseline[0].bits).numpy())
    return f"{name}: {_difference(mean_difference(pairs), 'images of one training each')}"


def _difference(found: Difference | None, what: str) -> str:
    if found is None:
        return "too few to compare"
    verdict = "resolved"
    if not found.resolved():
        verdict = f"not resolved; {found.detectable():.4f} would have been, in 80 % of such trials"
    return (
        f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}], 95 % over {found.pairs} "
        f"{what}: {verdict}"
    )
