"""Figure 4: sampling time against image size and batch."""

import pandas as pd
import pytest
from test_map import rows_of

from invconv.report.published import LABELS, published
from invconv.rows import read_table
from invconv.tables.figure4 import METHODS, RGB_SIZES, TABLE, Figure4, image_shape
from invconv.tables.importing import check_rows
from invconv.tables.table import tables


def test_a_small_sweep(reproduce, tmp_path):
    sizes = "size=8x8,rgb-8x8,oops"
    done = reproduce("figure4.py", "preset=tiny", sizes, "methods=[glow,finc]")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 of 3 cells ok" in done.stdout
    assert "size must be such as 64x128" in done.stderr
    results = tmp_path / "runs" / "tiny" / "results"
    rows = read_table(results / "data" / "figure4.csv")
    check_rows(rows, tables())
    good = rows[rows["status"] == "ok"]
    assert good.groupby("size")["method"].apply(sorted).tolist() == [["finc", "glow"]] * 2
    frame = good.set_index(["size", "method"])
    finc, glow = (frame.loc[("8x8", name)] for name in ("finc", "glow"))
    measured = ["st_1_s", "st_2_s", "st_published_2_s", "st_1_vs_glow", "st_published_2_vs_st"]
    assert (finc[measured] > 0).all()
    assert glow[["aa_st_1", "aa_st_2"]].gt(0).all() and pd.isna(glow["st_1_vs_glow"])
    rgb = frame.loc[("rgb-8x8", "finc")]
    assert rgb["st_100_s"] > 0
    assert (rgb["height"], rgb["image_width"]) == (8, 8)
    page = (results / "figure4.md").read_text()
    assert "Coupling width 4, reduced from 512" in page
    folder = results / "figures"
    svg, png = (next(folder.glob(f"figure4-*-w4.{suffix}")) for suffix in ("svg", "png"))
    assert svg.stat().st_size > 10_000
    assert png.read_bytes().startswith(b"\x89PNG")


def test_sizes():
    assert image_shape("16x32") == (2, 16, 32)
    assert image_shape("rgb-8x16") == (3, 8, 16)
    for wrong in ("", "8", "0x8", "8x8x8", "bw-8x8"):
        with pytest.raises(ValueError, match="size must be such as"):
            image_shape(wrong)


def test_all_methods_of_a_size_are_one_cell():
    config = Figure4(width=16)
    assert config.methods == list(METHODS) and TABLE.cell_of(config).startswith("32x32-w16-")
    assert TABLE.cell_of(Figure4(width=16, methods=["glow"])) != TABLE.cell_of(config)


def test_published_figures_and_a_page_without_rows():
    figures = published("figure4")
    assert set(figures["label"]) <= set(LABELS)
    assert (figures["source"] != "").all()
    assert set(figures["dataset"]) <= {"rgb", "128x128", *RGB_SIZES}
    value = figures.set_index(["model", "dataset", "metric"])["value"].astype(float)
    assert value["Emerging", "128x128", "st_128_s"] == 38.5
    assert value["CInC", "rgb-64x64", "st_s"] == 11.035
    assert "38.5" in TABLE.page(pd.DataFrame(rows_of("figure4"))).markdown()


def test_a_page_on_which_every_cell_failed():
    rows = [
        {name: value for name, value in row.items() if not isinstance(value, float)}
        for row in rows_of("figure4")[:3]
    ]
    failed = pd.DataFrame(rows).assign(status="oom", reason="big")
    document = TABLE.page(failed)
    page = document.markdown()
    assert page.count(": oom: big") == 3
    assert "rounds in" not in page and "ratios of" not in page
    assert [draw() for draw in document.pictures.values()]


def test_what_is_noisy_or_not_finite_has_no_ratio():
    rows = rows_of("figure4")
    for row in rows:
        row |= {"samples_not_finite": 4.0} if row["method"] == "macow" else {}
        row |= {"noisy": True} if row["method"] == "finc" else {}
    document = TABLE.page(pd.DataFrame(rows))
    two = next(grid for grid in document.grids() if "batch" in grid.frame)
    wanted = (two.frame["batch"].map(str) == "16") & (two.frame["size"].map(str) == "16x16")
    line = {name: str(entry) for name, entry in two.frame[wanted].iloc[0].items()}
    assert (line["FInC"], line["FInC ÷ Glow"]) == ("500 (noisy)", "–")
    assert (line["MaCow"], line["MaCow ÷ Glow"]) == ("not valid", "–")
    assert line["Emerging ÷ Glow"] == "0.80 [0.78, 0.82]"
    assert line["Emerging, paper's ÷ ours"] == "2.00 [1.98, 2.02]"
    assert "MaCow, paper's ÷ ours" in line and line["MaCow, paper's ÷ ours"] == "–"
    page = " ".join(document.markdown().split())
    assert "`16x16-w512/macow`: 4 samples were not finite" in page
    assert "Of 12 ratios of sampling time to Glow, 12 are below 1." in page


def test_the_page_counts_the_twins_whose_interval_contains_one():
    rows = [{**row, "aa_st_16": 1.0} for row in rows_of("figure4")]
    ends = [(0.9, 1.1), (1.01, 1.2), (1.0, 1.3), (None, None)]
    for row, (low, high) in zip(rows, ends, strict=False):
        row |= {"aa_st_16_low": low, "aa_st_16_high": high}
    assert "contains 1 in 2 of 3." in TABLE.page(pd.DataFrame(rows)).markdown()
