"""Table 3: equal parameters against MaCow."""

import pandas as pd
import pytest
import torch
from test_map import rows_of

from invconv.bench import Clock
from invconv.report.published import LABELS, published
from invconv.rows import read_table
from invconv.sweeps.config import QUICK
from invconv.tables import table3
from invconv.tables.importing import check_rows
from invconv.tables.table import tables


@pytest.mark.slow
def test_a_small_sweep(reproduce, tmp_path):
    done = reproduce("table3.py", "preset=tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 cells ok" in done.stdout
    results = tmp_path / "runs" / "tiny" / "results"
    rows = read_table(results / "data" / "table3.csv")
    check_rows(rows, tables())
    assert rows["cell"].str.partition("/")[2].tolist() == sorted(table3.MODELS)
    frame = rows.set_index("model")
    others = ["macow_fg", "macow_org"]
    assert (frame.loc[others, ["ft_vs_finc_k28", "st_vs_finc_k28"]] > 0).all(axis=None)
    assert frame.loc["finc_k28", "aa_ft"] > 0
    assert (frame[["ft_s", "st_s", "st_published_s"]] > 0).all(axis=None)
    assert frame.loc["macow_org", "parameters"] > frame.loc["macow_fg", "parameters"]
    assert frame.loc["macow_org", "dequantization"] == "variational_macow"
    page = (results / "table3.md").read_text()
    assert "2 images, coupling width 4, reduced from 512" in page
    assert "2 rounds in one process" in page


def test_a_misspelled_model_is_refused():
    config = table3.Table3(width=4, steps=1, images=2, models=["finc_k28", "macow_fgg"])
    config.clock = Clock(**QUICK)
    with pytest.raises(ValueError, match=r"unknown model 'macow_fgg'.*; did you mean macow_fg\?"):
        table3.measure(config, torch.device("cpu"), None)


def test_sampling_that_is_not_finite_is_not_divided():
    rows = [{**row, "samples_not_finite": 0.0} for row in rows_of("table3")]
    rows[-1]["samples_not_finite"] = 3.0
    (grid,) = table3.TABLE.page(pd.DataFrame(rows)).grids()
    lines = {str(line["model"]): line for line in grid.frame.to_dict("records")}
    lost, good = lines["MaCow-FG"], lines["MaCow-org"]
    assert str(lost["ST s, measured"]) == "not valid: samples not finite"
    assert {str(lost[name]) for name in ("ST ÷ FInC", "ST ÷ FT", "paper's ST ÷ ST")} == {"–"}
    assert str(lost["FT ÷ FInC"]) == str(good["FT ÷ FInC"]) == "0.80 [0.78, 0.82]"
    assert str(good["ST ÷ FInC"]) == "0.88 [0.86, 0.90]"
    assert str(lines["FInC"]["ST ÷ FInC"]) == "1"


def test_published_figures_and_a_page_without_rows():
    figures = published("table3")
    assert set(figures["label"]) <= set(LABELS)
    assert (figures["source"] != "").all()
    value = figures.set_index(["model", "metric"])["value"].astype(float)
    assert value["MaCow-org", "st_s"] == 3.23
    assert value["FInC", "parameters"] == 39_460_000
    assert "39,460,000" in table3.TABLE.page(pd.DataFrame(rows_of("table3"))).markdown()
