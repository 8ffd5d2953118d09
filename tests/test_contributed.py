"""Rows that somebody else measured."""

import pandas as pd
import pytest
from test_map import rows_of

from invconv.__main__ import main
from invconv.bench.contributed import RowsError, check_rows
from invconv.report import PAGES

TABLES = tuple(PAGES)


def given(tmp_path, **changes):
    rows = [{**row, **changes} for row in rows_of("table3")]
    path = tmp_path / "rows.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def imported(path, tmp_path, label="a cluster"):
    return main(["import", str(path), "--label", label, "--results", str(tmp_path / "results")])


def test_they_are_a_block_of_their_own_and_replace_nothing(tmp_path, capsys):
    data = tmp_path / "results" / "data"
    data.mkdir(parents=True)
    own = [{**row, "st_s": 7.25, "date": "2026-01-01T00:00:00Z"} for row in rows_of("table3")]
    pd.DataFrame(own).to_csv(data / "table3.csv", index=False)
    path = given(tmp_path)
    assert imported(path, tmp_path) == 0
    assert imported(path, tmp_path) == 0
    assert "table3: 6 rows" in capsys.readouterr().out
    page = (tmp_path / "results" / "table3.md").read_text()
    assert "(a cluster: m)" in page
    assert page.count("## 100 images") == 2
    assert "7.25" in page


def test_rows_of_ours_in_the_same_file_stay_ours(tmp_path, capsys):
    data = tmp_path / "results" / "data"
    data.mkdir(parents=True)
    ours, theirs = rows_of("table3"), given(tmp_path, machine="their node")
    pd.DataFrame(ours).to_csv(data / "table3.csv", index=False)
    both = tmp_path / "both.csv"
    pd.concat([pd.DataFrame(ours), pd.read_csv(theirs)]).to_csv(both, index=False)
    assert imported(both, tmp_path) == 0
    assert "table3: 6 rows" in capsys.readouterr().out
    assert set(pd.read_csv(data / "table3.csv")["machine"]) == {"m", "a cluster: their node"}
    before = (data / "table3.csv").read_bytes()
    pd.DataFrame(ours).to_csv(both, index=False)
    assert imported(both, tmp_path) == 1
    assert "all of its 3 rows are here already, without a label" in capsys.readouterr().err
    assert (data / "table3.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"table": "table9"}, "table must be one of table1"),
        ({"status": "fine"}, "status must be one of ok"),
        ({"commit": "unknown"}, "the commit is unknown"),
        ({"dirty": "perhaps"}, "dirty must be True or False"),
        ({"date": "yesterday"}, "date must be a time"),
        ({"config": "3"}, "config is not a JSON object"),
        ({"st_s": -1}, "st_s must be seconds"),
        ({"device": None}, "device is empty"),
    ],
)
def test_what_is_refused(tmp_path, capsys, changes, reason):
    assert imported(given(tmp_path, **changes), tmp_path) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_whole_files_that_are_refused(tmp_path, capsys):
    assert imported(tmp_path / "none.csv", tmp_path) == 1
    assert imported(given(tmp_path), tmp_path, label="a: b") == 1
    assert "without a colon" in capsys.readouterr().err
    rows = pd.DataFrame(rows_of("table3"))
    with pytest.raises(RowsError, match="columns are missing: config"):
        check_rows(rows.drop(columns="config"), TABLES)
    with pytest.raises(RowsError, match="no rows"):
        check_rows(rows[:0], TABLES)
    with pytest.raises(RowsError, match="twice"):
        check_rows(pd.concat([rows, rows]), TABLES)
