"""What `python -m invconv evaluate` prints."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from invconv.report import entries as en
from invconv.report.comparison import Comparison, reach_over_images
from invconv.report.entries import Grid, Line
from invconv.training.evaluation import Evaluation


def text(evaluations: Sequence[Evaluation]) -> str:
    """Return a table of the checkpoints, and of differences within each data set and split.

    The first method is the control unless "glow" is among them. Where every method of one setting
    was trained from the same two seeds or more, differences are those of `Comparison`. Otherwise
    they are of single trainings, image by image: their interval says how much other images would
    change them, and nothing about another training.
    """
    parts = [str(Grid([_line(one) for one in evaluations]))]
    groups: dict[tuple[str, ...], list[Evaluation]] = {}
    for one in evaluations:
        groups.setdefault((one.data, one.split, one.path_of_data), []).append(one)
    for (data, split, path), found in groups.items():
        members = _named(found)
        methods = list(dict.fromkeys(one.method for one in members))
        if len(methods) > 1:
            control = "glow" if "glow" in methods else methods[0]
            where = f"{data} {split}{f' of {path}' if path else ''}"
            parts.append(f"{where}, minus {control}: {_compared(members, control)}")
    return "\n\n".join(parts)


def _named(members: Sequence[Evaluation]) -> list[Evaluation]:
    """Number the settings of a method that was trained in several: "finc", "finc (2)"."""
    settings: dict[str, list[str]] = {}
    for one in members:
        known = settings.setdefault(one.method, [])
        known += [one.setting] * (one.setting not in known)
    places = [settings[one.method].index(one.setting) + 1 for one in members]
    return [
        replace(one, method=f"{one.method} ({place})") if place > 1 else one
        for one, place in zip(members, places, strict=True)
    ]


def _line(one: Evaluation) -> dict[str, str]:
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


def _compared(members: Sequence[Evaluation], control: str) -> str:
    table = pd.DataFrame(
        [(one.seed, one.method, one.bits.mean().item()) for one in members],
        columns=["seed", "method", "bpd"],
    ).pivot_table("bpd", "seed", "method", sort=False)
    if len(table.dropna()) < 2:
        grid = Grid(_by_image(members, control))
        return (
            "single trainings; the 95 % intervals are over images and say nothing about another "
            f"training\n\n{grid}"
        )
    found = Comparison(table, control)
    grid = Grid(
        {
            "method": name,
            "bpd": f"{found.bpd[name].mean():.4f} ± {found.bpd[name].std():.4f}",
            f"minus {control}": str(difference),
            "verdict": difference.verdict,
            "detectable": f"{difference.detectable:.4f}",
        }
        for name, difference in found.to_control.items()
    )
    return f"{found.seeds} seeds, simultaneous 95 % intervals\n\n{grid}"


def _by_image(members: Sequence[Evaluation], control: str) -> Iterator[Line]:
    reference = next(one for one in members if one.method == control)
    for one in members:
        if one.method != control:
            difference = one.bits - reference.bits
            mean, reach = difference.mean().item(), reach_over_images(difference.numpy())
            yield {
                "method": one.method,
                "seeds": f"{one.seed} and {reference.seed}",
                f"minus {control}": f"{mean:+.4f} [{mean - reach:+.4f}, {mean + reach:+.4f}]",
                "images": str(len(difference)),
            }
