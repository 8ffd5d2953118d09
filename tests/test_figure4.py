"""Figure 4: sampling time against image size and batch."""

import subprocess
import sys

from invconv.report import figure4
from invconv.report.published import LABELS, published
from invconv.rows import read_table
from invconv.rows.provenance import ROOT


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


def test_published_figures_and_a_page_without_rows():
    figures = published("figure4")
    assert set(figures["label"]) <= set(LABELS)
    assert (figures["source"] != "").all()
    assert set(figures["dataset"]) <= {"rgb", "128x128", *figure4.RGB_SIZES}
    value = figures.set_index(["model", "dataset", "metric"])["value"]
    assert value["Emerging", "128x128", "st_128_s"] == 38.5
    assert value["CInC", "rgb-64x64", "st_s"] == 11.035
    page = figure4.page(read_table(ROOT / "nowhere.csv"))
    assert "missing: no rows yet" in page
    assert "38.5" in page
