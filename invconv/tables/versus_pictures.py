"""The pictures of everything against n and k."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from invconv.methods import method
from invconv.report import Picture
from invconv.report import blocks as bl
from invconv.report.grids import swept
from invconv.report.illustrated import label_ends
from invconv.tables import relative

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REFERENCE, TORCH = relative.REFERENCE, "torch"
KERNEL = 3
"""k of everything against n, and where methods without a kernel size are."""
AXES = {
    "models": {"n": ("k", KERNEL), "k": ("n", 16)},
    "layers": {"n": ("k", KERNEL), "k": ("n", 32)},
}
"""What varies in each part → what is fixed, and at which value."""
WORDS = {"n": "image size n", "k": "kernel size k"}
MODELS = {
    "bpd": "bits per dimension",
    "ft_s": "forward time FT, ms",
    "st_s": "sampling time ST, ms",
}
LAYERS = {"forward_s": "forward, ms", "inverse_s": "inverse, ms"}
GRAY = "#555555"
Draw = Callable[[], "Figure"]


def named(name: object) -> str:
    """Return what a method, or torch, is called."""
    return "torch's fastest convolution" if name == TORCH else bl.title(str(name))


def along(rows: pd.DataFrame, part: str, axis: str) -> pd.DataFrame:
    """Return the rows along one axis."""
    other, value = AXES[part][axis]
    return rows[rows[other] == value]


def _plot(panel: "Axes", rows: pd.DataFrame, axis: str, field: str, name: str) -> None:
    """One line of a method with its band: quartiles of a time, ± standard deviation of bpd."""
    rows = rows[rows[field].notna()].sort_values(axis) if field in rows else rows[:0]
    if rows.empty:
        return
    one = method(name)
    look = {"color": GRAY, "linestyle": "-.", "marker": ""} if name == TORCH else one.look
    scale = 1e3 if field.endswith("_s") else 1
    x, y = rows[axis].astype(float), scale * rows[field]
    if field == "bpd":
        spread = rows["bpd_sd"].fillna(0)
        low, high = y - spread, y + spread
    else:
        base = field.removesuffix("_s")
        low, high = (scale * rows[f"{base}_{q}_s"] for q in ("q25", "q75"))
    panel.plot(x, y, label=named(name), markersize=4, linewidth=1.2, **look)
    panel.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)


def _plain(panel: "Axes") -> None:
    """A logarithmic x axis with the numbers 1, 2, 5, 10 and so on."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _axis(panel: "Axes", rows: pd.DataFrame, part: str, axis: str, log: bool) -> None:
    other, value = AXES[part][axis]
    sizes = sorted(int(x) for x in along(rows, part, axis)[axis].unique())
    panel.set_xscale("log")
    panel.set_yscale("log" if log else "linear")
    panel.set_xticks(sizes, [str(size) for size in sizes])
    panel.minorticks_off()
    panel.set_xlabel(f"{WORDS[axis]} ({other} = {value})")


def _guide(panel: "Axes", power: int) -> None:
    """A dotted line of the given slope, in the lower right corner of a log-log panel."""
    (left, right), (low, high) = panel.get_xlim(), panel.get_ylim()
    x = np.array([math.sqrt(left * right), right])
    y = low * 1.5 * (x / x[0]) ** power
    panel.plot(x, y, color="#999999", linestyle=":", linewidth=1, label="_guide")
    panel.annotate(f"slope {power}", (x[0], y[0]), fontsize=7, color="#777777", va="bottom")
    panel.set_ylim(low, high)


def _panels(
    rows: pd.DataFrame, part: str, fields: Mapping[str, str], names: Iterable[str], title: str
) -> "Figure":
    picture = Picture(len(fields), 2, (9.5, 2.9 * len(fields) + 0.4), sharey=False)
    places = product(fields, AXES[part])
    for panel, (field, axis) in zip(picture.panels, places, strict=True):
        points = along(rows, part, axis)
        for name in names:
            _plot(panel, points[points["method"] == name], axis, field, name)
        log = field != "bpd"
        _axis(panel, rows, part, axis, log)
        if log and panel.get_lines():
            _guide(panel, 2)
        if axis == "n":
            panel.set_ylabel(fields[field])
        else:
            label_ends(panel, 7)
    picture.figure.suptitle(title, fontsize=10)
    return picture.figure


def draw_models(whole: pd.DataFrame, names: Sequence[str]) -> "Figure":
    """Draw bpd, FT and ST of whole models against n and k, each once it is there along both."""
    device = whole["device"].dropna()
    where = f", {device.iloc[0]}" if len(device) else ""
    found = {field: title for field, title in MODELS.items() if field in whole}
    fields = {field: title for field, title in found.items() if _along_both(whole, field)} or found
    return _panels(whole, "models", fields, names, f"Whole models on photographs{where}")


def _along_both(whole: pd.DataFrame, field: str) -> bool:
    """Whether a quantity is known at two sizes of each axis, at least."""
    measured = whole.dropna(subset=[field])
    return all(along(measured, "models", axis)[axis].nunique() > 1 for axis in AXES["models"])


def at_center(whole: pd.DataFrame) -> pd.DataFrame:
    """Return the methods that are trained and timed where both axes meet."""
    center = along(whole, "models", "k")
    return center[center["k"] == KERNEL].dropna(subset=["bpd", "st_s"])


def draw_layer(rows: pd.DataFrame) -> "Figure":
    """Draw forward and inverse of one layer against n and k."""
    size = "{channels:.0f} channels, batch {batch:.0f}, {device}".format_map(rows.iloc[0])
    return _panels(rows, "layers", LAYERS, [*swept(), TORCH], f"One layer, {size}")


def draw_pareto(whole: pd.DataFrame) -> "Figure":
    """Draw bpd against ST at the center, the area as the parameters."""
    center = at_center(whole)
    picture = Picture(1, 1, (6.4, 4.2), sharey=False)
    panel = picture.panels[0]
    for _, row in center.iterrows():
        one = method(row["method"])
        area = 300 * row["parameters"] / center["parameters"].max()
        panel.scatter(1e3 * row["st_s"], row["bpd"], s=area, color=one.color, alpha=0.7)
        place = {"xytext": (5, 4), "textcoords": "offset points", "fontsize": 8}
        panel.annotate(one.title, (1e3 * row["st_s"], row["bpd"]), **place)
    _plain(panel)
    panel.set_xlabel("sampling time of 100 images, ms")
    panel.set_ylabel("bits per dimension")
    panel.set_title("fewer bits and faster is lower left; area: parameters", fontsize=9)
    return picture.figure


def at_largest(times: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the largest images whose sampling time relative to Glow's is valid."""
    largest = times[times["k"].fillna(KERNEL) == KERNEL]["n"].max()
    rows = times[(times["n"] == largest) & (times["k"].fillna(KERNEL) == KERNEL)]
    return relative.compared(rows[rows["method"].isin(swept())])


def draw_relative(times: pd.DataFrame) -> "Figure":
    """Draw sampling times relative to Glow's: by our inverses, and by the papers' algorithms."""
    rows = at_largest(times)
    n, device = rows["n"].iloc[0], rows["device"].iloc[0]
    return relative.draw(rows, f"photographs {n:.0f}×{n:.0f}, {device}")
