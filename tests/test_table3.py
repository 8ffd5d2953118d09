"""Table 3: equal parameters against MaCow."""

import subprocess
import sys

import pytest

from invconv.report.published import LABELS, published
from invconv.rows import read_table
from invconv.rows.provenance import ROOT
from invconv.tables import table3


@pytest.mark.slow
def test_a_small_sweep(tmp_path):
    command = [sys.executable, str(ROOT / "reproductions" / "table3.py"), "-m", "preset=tiny"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 cells ok" in done.stdout
    results = tmp_path / "runs" / "tiny" / "results"
    frame = read_table(results / "data" / "table3.csv").set_index("model")
    assert (frame[["ft_s", "st_s", "st_published_s"]] > 0).all(axis=None)
    assert frame.loc["macow_org", "parameters"] > frame.loc["macow_fg", "parameters"]
    assert frame.loc["macow_org", "dequantization"] == "variational_macow"
    page = (results / "table3.md").read_text()
    assert "2 images, coupling width 4, reduced from 512" in page
    assert "FT ratio" not in page


def test_published_figures_and_a_page_without_rows():
    figures = published("table3")
    assert set(figures["label"]) <= set(LABELS)
    assert (figures["source"] != "").all()
    value = figures.set_index(["model", "metric"])["value"].astype(float)
    assert value["MaCow-org", "st_s"] == 3.23
    assert value["FInC", "parameters"] == 39_460_000
    page = table3.TABLE.page(read_table(ROOT / "nowhere.csv")).markdown()
    assert "missing: no rows yet" in page
    assert "39,460,000" in page
