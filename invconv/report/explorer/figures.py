"""The explorer's figures: points with the rows that they come from."""

from collections.abc import Iterator

import pandas as pd

from invconv.report import figure4, pages, table3, table4
from invconv.report.explorer.points import (
    Figure,
    figure,
    method_points,
    point,
    published_points,
    series_points,
)
from invconv.report.names import METHODS
from invconv.report.scaling import SERIES
from invconv.report.style import OTHER, style

GPU = {
    "inverse": SERIES["inverse"],
    "forward": SERIES["forward"],
    "torch_forward": SERIES["torch_forward"],
    "pointwise": SERIES["pointwise"],
    "wavefront": SERIES["inverse_wavefront"],
    "diagonal_channel": SERIES["inverse_diagonal_channel"],
    "diagonal_channel_4": ("inverse, FInC's algorithm 2", "#44AA99", "P"),
}
TIMES = {
    "ft_s": "forward time FT",
    "st_s": "sampling time ST",
    "st_published_s": "sampling time, own algorithm",
    "train_step_s": "time of a training step",
}
SOLVERS = {
    "compiled": SERIES["inverse"][1:],
    "torch": SERIES["torch_forward"][1:],
    "wavefront": SERIES["inverse_wavefront"][1:],
    "diagonal_channel": SERIES["inverse_diagonal_channel"][1:],
    "diagonal_channel_4": GPU["diagonal_channel_4"][1:],
    "raster_serial": ("#88CCEE", "d"),
    "reference": ("#000000", "o"),
}
"""Method of the solver → colour and marker."""
ALGORITHMS = {
    "algorithm_1": ("algorithm 1", "#117733", "x"),
    "algorithm_2": ("algorithm 2", "#44AA99", "P"),
    "ours": ("ours", "#CC6677", "D"),
}
SECONDS = "seconds"


def figures(table: str, rows: pd.DataFrame) -> list[Figure]:
    """The figures of one table's rows; those without a point are left out.

    Returns:
        title, x, y (the axes' titles), log (whether x is logarithmic, None for categories),
        order (of categories), legend (False where the categories name the series), joined
        (whether categories are), series (name, colour, symbol, dash) and points: x, y, low, high
        (None without an interval), series (its number), group (what tells lines of one series
        apart) and row, or instead of a row what was published where.
    """
    make = {
        "table2": _table2,
        "table3": _table3,
        "table4": _table4,
        "figure4": _figure4,
        "scaling": _scaling,
        "gpu": _gpu,
        "benchmark": _benchmark,
    }.get(table)
    good = rows[rows["status"] == "ok"]
    return [found for found in make(good) if found["points"]] if make else []


def _table2(rows: pd.DataFrame) -> Iterator[Figure]:
    names = {title: title for title in METHODS.values()}
    for data in rows["dataset"].unique():
        here = rows[rows["dataset"] == data]
        for field, title in {"bpd": "bits per dimension", **TIMES}.items():
            points = list(method_points(here, field, "method", ("preset", "seed")))
            if points:
                points += published_points("table2", names, dataset=data, metric=field)
            unit = "bits per dimension" if field == "bpd" else SECONDS
            order = {"log": None, "order": list(names), "legend": False}
            yield figure(f"{title}, {data}", "", unit, points, **order)


def _table3(rows: pd.DataFrame) -> Iterator[Figure]:
    names = {title: title for title, _ in table3.MODELS.values()}
    kinds = {model: style("finc" if "finc" in model else "macow") for model in table3.MODELS}
    looks = {
        table3.MODELS[model][0]: (table3.MODELS[model][0], look.colour, look.marker)
        for model, look in kinds.items()
    }
    for field, title in TIMES.items():
        points = []
        for i, row in rows.iterrows():
            name = table3.MODELS.get(row["model"], (row["model"],))[0]
            found = point(i, row, name, field, ("images", "width"))
            if found is not None:
                points.append(((*looks.get(name, (name, *OTHER)), "-"), found))
        if points:
            points += published_points("table3", names, looks, metric=field)
        yield figure(title, "", SECONDS, points, log=None, order=list(names), legend=False)


def _table4(rows: pd.DataFrame) -> Iterator[Figure]:
    for images in sorted(rows["images"].unique()):
        here = rows[rows["images"] == images]
        points = []
        for i, row in here.iterrows():
            x = table4.SIZES.get(row["size"], row["size"])
            for field, look in ALGORITHMS.items():
                found = point(i, row, x, f"{field}_s", ("width",))
                if found is not None:
                    points.append(((*look, "-"), found))
        looks = {look[0]: look for look in ALGORITHMS.values()}
        points += published_points("table4", table4.SIZES, looks, metric=f"st_{int(images)}_s")
        title = f"sampling time of {int(images)} images"
        yield figure(title, "", SECONDS, points, log=None, order=list(table4.SIZES.values()))


def _figure4(rows: pd.DataFrame) -> Iterator[Figure]:
    for batch in (*figure4.BATCHES, figure4.RGB_BATCH):
        rgb = batch == figure4.RGB_BATCH
        sizes = figure4.RGB_SIZES if rgb else figure4.SIZES
        here = pages.in_order(rows[rows["size"].isin(sizes)], "size", sizes)
        points = list(method_points(here, f"st_{batch}_s", "size", ("width",)))
        metric = "st_s" if rgb else f"st_{batch}_s"
        if points:
            points += published_points("figure4", {s: s for s in sizes}, metric=metric)
        title = f"sampling time against image size, batch {batch}"
        kind = {"log": None, "order": list(sizes), "joined": True}
        yield figure(title, "image size", SECONDS, points, **kind)
    for size in figure4.SIZES:
        here = rows[rows["size"] == size]
        points = []
        for batch in figure4.BATCHES:
            batched = here.assign(batch=batch)
            points += method_points(batched, f"st_{batch}_s", "batch", ("width",))
        yield figure(f"sampling time against batch, {size}", "batch", SECONDS, points, log=True)


def _scaling(rows: pd.DataFrame) -> Iterator[Figure]:
    for x, (title, other, default) in {
        "n": ("image size n, k = 3", "k", 3),
        "k": ("kernel size k, n = 32", "n", 32),
    }.items():
        points = series_points(rows[rows[other] == default], x, SERIES, ("channels", "batch"))
        yield figure(f"time against {title}", x, SECONDS, points, log=True)


def _gpu(rows: pd.DataFrame) -> Iterator[Figure]:
    layers = rows[rows["part"] == "layer"]
    for kind in layers["kind"].unique():
        here = layers[layers["kind"] == kind]
        for x, other in (("n", "batch"), ("batch", "n")):
            points = series_points(here, x, GPU, ("channels", other, "tf32_block"))
            yield figure(f"{kind}: time against {x}", x, SECONDS, points, log=True)


def _benchmark(rows: pd.DataFrame) -> Iterator[Figure]:
    for operation in rows["operation"].unique():
        here = rows[rows["operation"] == operation]
        for x, other in (("n", "k"), ("k", "n")):
            there = here[here[x].notna()].sort_values(x, kind="stable")
            found = method_points(there, "time_s", x, (other, "channels", "batch"))
            points = (
                ((look[0], *SOLVERS.get(look[0], look[1:3]), look[3]), p) for look, p in found
            )
            yield figure(f"{operation}: time against {x}", x, SECONDS, points, log=True)
