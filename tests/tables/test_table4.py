"""Table 4: sampling with FInC's algorithms and with ours."""

import pandas as pd
from test_map import rows_of

from invconv.report.published import LABELS, published
from invconv.rows import read_table
from invconv.tables import table4
from invconv.tables.importing import check_rows
from invconv.tables.table import tables


def test_a_small_sweep(reproduce, tmp_path):
    done = reproduce("table4.py", "preset=tiny", "size=mnist,nonsense")
    assert done.returncode == 1, done.stderr
    assert "1 of 2 cells ok" in done.stdout
    assert "size must be one of mnist" in done.stderr
    results = tmp_path / "runs" / "tiny" / "results"
    frame = read_table(results / "data" / "table4.csv")
    check_rows(frame, tables())
    row = frame[frame["status"] == "ok"].iloc[0]
    assert row["algorithm_1_vs_ours"] > 0 and row["aa_ours"] > 0
    assert row["algorithm_1_round_trip"] < 1e-3
    assert row["algorithm_1_s"] > 0
    assert row["ours_round_trip"] < 1e-3
    assert "needs a GPU" in row["algorithm_2_reason"]
    page = (results / "table4.md").read_text()
    assert "coupling width 4, reduced from 512" in page
    assert "algorithm 2: not measured" in page
    assert "2 rounds in one process" in page


def test_published_figures_and_a_page_without_rows():
    figures = published("table4")
    assert set(figures["label"]) <= set(LABELS)
    assert (figures["source"] != "").all()
    value = figures.set_index(["model", "dataset", "metric"])["value"].astype(float)
    assert value["algorithm 1", "imagenet64", "st_100_s"] == 2.31
    assert value["algorithm 2", "cifar10", "st_1_s"] == 0.30
    page = table4.TABLE.page(pd.DataFrame(rows_of("table4"))).markdown()
    assert page.count("2.31") == 2  # in the narrow table and in that of all columns
