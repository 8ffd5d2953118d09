"""Figure 4: sampling time against image size and batch."""

import subprocess
import sys

import pytest

from invconv.report.published import LABELS, published
from invconv.rows import read_table
from invconv.rows.provenance import ROOT
from invconv.sweeps.config import Method
from invconv.tables.figure4 import RGB_SIZES, TABLE, Figure4, image_shape


def test_a_small_sweep(tmp_path):
    command = [sys.executable, str(ROOT / "reproductions" / "figure4.py"), "-m", "preset=tiny"]
    done = subprocess.run(
        [*command, "size=8x8,rgb-8x8,oops", "method=finc"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 of 3 cells ok" in done.stdout
    assert "size must be such as 64x128" in done.stderr
    results = tmp_path / "runs" / "tiny" / "results"
    frame = read_table(results / "data" / "figure4.csv").set_index("size")
    assert (frame.loc["8x8", ["st_1_s", "st_2_s", "st_published_2_s"]] > 0).all()
    assert frame.loc["rgb-8x8", "st_100_s"] > 0
    assert (frame.loc["rgb-8x8", "height"], frame.loc["rgb-8x8", "image_width"]) == (8, 8)
    page = (results / "figure4.md").read_text()
    assert "coupling width 4, reduced from 512" in page
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


def test_a_cell_has_the_name_that_it_had():
    """Rows that were measured before stay those of their settings."""
    method = Method("finc", "finc", "common", {"kernel_size": 3})
    config = Figure4(method=method, size="32x32", width=16)
    rows = read_table(ROOT / "results" / "data" / "figure4.csv")
    assert TABLE.cell_of(config) in set(rows["cell"])


def test_published_figures_and_a_page_without_rows():
    figures = published("figure4")
    assert set(figures["label"]) <= set(LABELS)
    assert (figures["source"] != "").all()
    assert set(figures["dataset"]) <= {"rgb", "128x128", *RGB_SIZES}
    value = figures.set_index(["model", "dataset", "metric"])["value"].astype(float)
    assert value["Emerging", "128x128", "st_128_s"] == 38.5
    assert value["CInC", "rgb-64x64", "st_s"] == 11.035
    page = TABLE.page(read_table(ROOT / "nowhere.csv")).markdown()
    assert "missing: no rows yet" in page
    assert "38.5" in page


def test_a_page_on_which_every_cell_failed():
    rows = read_table(ROOT / "results" / "data" / "figure4.csv").drop_duplicates("cell").head(3)
    kept = ["cell", "table", "method", "size", "width", "config", "device", "machine", "threads"]
    failed = rows[[*kept, "torch", "commit", "date", "dirty"]].assign(status="oom", reason="big")
    page = TABLE.page(failed).markdown()
    assert page.count(": oom: big") == 3
    assert "repeats" not in page
