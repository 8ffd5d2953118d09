"""Rows that somebody else measured."""

import json

import pandas as pd
import pytest
from test_map import rows_of

from invconv.__main__ import main
from invconv.rows import RowsError, cell_id, read_table
from invconv.rows.provenance import ROOT
from invconv.tables.importing import check_rows
from invconv.tables.table import tables

TABLES = tables()


def named(row, **config):
    """A row whose cell is called as a sweep would have called it."""
    config = {**json.loads(row["config"]), **config}
    block, *part = row["cell"].split("/")
    cell = "/".join([cell_id(block, config), *part])
    return {**row, "cell": cell, "config": json.dumps(config, sort_keys=True)}


def theirs():
    """Rows of table 3, of another machine: the parts of one block."""
    return [
        named(row, images=row["images"], width=row["width"]) for row in reversed(rows_of("table3"))
    ]


def bits(**changes):
    """A row of table 2 that was not timed."""
    row = next(row for row in rows_of("table2") if "/" not in row["cell"])
    config = {name: row[name] for name in ("preset", "seed")}
    config |= {"dataset": {"name": "digits"}, "method": {"conv": "glow", "name": row["method"]}}
    config |= changes.pop("config", {})
    return {**named(row, **config), **changes}


def given(tmp_path, **changes):
    path = tmp_path / "rows.csv"
    pd.DataFrame([{**row, **changes} for row in theirs()]).to_csv(path, index=False)
    return path


def imported(path, tmp_path, label="a cluster"):
    return main(["import", str(path), "--label", label, "--results", str(tmp_path / "results")])


def refused(*rows):
    with pytest.raises(RowsError) as caught:
        check_rows(pd.DataFrame(rows), TABLES)
    return str(caught.value)


def test_they_are_a_block_of_their_own_and_replace_nothing(tmp_path, capsys):
    data = tmp_path / "results" / "data"
    data.mkdir(parents=True)
    own = [{**row, "st_s": 7.25, "date": "2026-01-02T00:00:00Z"} for row in theirs()]
    pd.DataFrame(own).to_csv(data / "table3.csv", index=False)
    path = given(tmp_path)
    assert imported(path, tmp_path) == 0
    assert imported(path, tmp_path) == 0
    assert "table3: 6 rows" in capsys.readouterr().out
    page = (tmp_path / "results" / "table3.md").read_text()
    assert "a cluster: m" in page
    assert page.count("\n## ") == 2
    assert "7.25" in page


def test_rows_of_ours_in_the_same_file_stay_ours(tmp_path, capsys):
    data = tmp_path / "results" / "data"
    data.mkdir(parents=True)
    ours, other = theirs(), given(tmp_path, machine="their node")
    pd.DataFrame(ours).to_csv(data / "table3.csv", index=False)
    both = tmp_path / "both.csv"
    pd.concat([pd.DataFrame(ours), pd.read_csv(other)]).to_csv(both, index=False)
    assert imported(both, tmp_path) == 0
    assert "table3: 6 rows" in capsys.readouterr().out
    assert set(pd.read_csv(data / "table3.csv")["machine"]) == {"m", "a cluster: their node"}
    before = (data / "table3.csv").read_bytes()
    pd.DataFrame(ours).to_csv(both, index=False)
    assert imported(both, tmp_path) == 1
    assert "all of its 3 rows are here already, without a label" in capsys.readouterr().err
    assert (data / "table3.csv").read_bytes() == before


def test_numbers_that_a_spreadsheet_wrote_are_numbers(tmp_path):
    assert imported(given(tmp_path, st_s="0.50", threads="2.0"), tmp_path) == 0
    rows = read_table(tmp_path / "results" / "data" / "table3.csv")
    assert rows[["st_s", "threads"]].to_numpy().tolist() == [[0.5, 2.0]] * 3


@pytest.mark.parametrize("table", TABLES)
def test_every_row_that_is_published_here_would_be_taken(table):
    rows = read_table(ROOT / "results" / "data" / f"{table}.csv")
    if len(rows):
        check_rows(rows, TABLES)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"table": "table9"}, "table must be one of table1"),
        ({"status": "fine"}, "row 1: status must be one of ok"),
        ({"commit": "unknown"}, "row 1: the commit is unknown"),
        ({"dirty": "perhaps"}, "row 1: dirty must be True or False, not 'perhaps'"),
        ({"date": "yesterday"}, "row 1: date must be an ISO 8601 time"),
        ({"date": "29/11/2026 10:00"}, "row 1: date must be an ISO 8601 time"),
        ({"config": "3"}, "row 1: config must be a JSON object, not '3'"),
        ({"st_s": -1}, "row 1: st_s must be seconds, finite and not negative, not '-1'"),
        ({"st_s": "1e999"}, "row 1: st_s must be seconds, finite and not negative, not '1e999'"),
        ({"st_s": "9" * 400}, "row 1: st_s must be seconds"),
        ({"st_s": True}, "row 1: st_s must be seconds"),
        ({"parameters": -5}, "row 2: parameters must be a number, finite and not negative"),
        ({"ft_vs_finc_k28_low": -1}, "row 1: ft_vs_finc_k28_low must be a number"),
        ({"aa_spread": 0.02}, "column 'aa_spread' is unknown in table3, whose are "),
        ({"foreign_cpu": "much"}, "row 1: foreign_cpu must be a number"),
        ({"noisy": "perhaps"}, "row 1: noisy must be True or False, not 'perhaps'"),
        ({"threads": "many"}, "row 1: threads must be a number"),
        (
            {"round_trip_error": None},
            "row 1: ft_s must have the error of a verification",
        ),
        ({"device": None}, "row 1: device is empty"),
        ({"width": 16}, "row 1: width must be what config says, 512, not '16'"),
        ({"images": None}, "row 1: images is empty"),
        ({"model": "a|b"}, "row 1: model must be without <, >, | and `"),
        ({"cell": "i100-00000000/finc_k28"}, "row 1: cell must end with the hash of its config"),
        ({"cell": "../evil-00000000"}, "row 1: a cell's name is that of a folder"),
        ({"f_ts": 1.0}, "column 'f_ts' is unknown in table3, whose are "),
        ({"solver": "a|b"}, "row 1: solver must be without <, >, | and `"),
        ({"solver": "a\x00b"}, "row 1: solver must be without characters that cannot be printed"),
    ],
)
def test_what_is_refused(tmp_path, capsys, changes, reason):
    assert imported(given(tmp_path, **changes), tmp_path) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("table", ["table2", "table3", "figure4", "scaling", "ladder", "clock"])
def test_the_parts_of_a_block_are_taken(table):
    """Whose cells are called ``cell/part``, with the label of the part in a column."""
    rows = [row for row in rows_of(table) if "/" in row["cell"]]
    names = [*TABLES[table].labels, TABLES[table].parts]
    labels = {"table2": ("preset", "seed"), "figure4": ("size", "width")}.get(table, names[:-1])
    for row in rows:
        config = {name: row[name] for name in labels}
        if table == "table2":
            config |= {"dataset": {"name": row["dataset"]}, "part": "time"}
            config |= {"method": {"name": "times", "conv": "times"}}
        row |= named(row, **config) | {"commit": "0123456789", "inverse_error": 1e-6}
        if table not in ("scaling", "ladder"):
            del row["inverse_error"]
        if table == "figure4":
            row |= {"round_trip_error": 1e-6}
    check_rows(pd.DataFrame(rows), TABLES)
    assert len({row["cell"].partition("/")[0] for row in rows}) < len(rows)
    with pytest.raises(RowsError, match="stands there twice"):
        check_rows(pd.DataFrame([*rows, rows[0]]), TABLES)
    if TABLES[table].parts == "method":
        odd = {**rows[0], "cell": rows[0]["cell"].replace("/glow", "/magic"), "method": "magic"}
        assert "row 1: method must be of a layer, one of" in refused(odd)
    if "method" in TABLES[table].labels:
        odd = {**rows[0], "method": "finc"}
        assert refused(odd) == "row 1: method must be what config says, 'glow', not 'finc'"


def test_bits_per_dimension_a_method_and_a_data_set_that_nobody_has():
    check_rows(pd.DataFrame([bits()]), TABLES)
    for wrong in (-3, 1e9, "x", float("inf")):
        said = refused(bits(bpd=wrong))
        assert said == f"row 1: bpd must be a number from 0 to 64, not '{wrong}'"
    assert "column 'bdp' is unknown in table2" in refused(bits(bdp=3.0))
    config = {"method": {"conv": "magic", "name": "glow"}}
    assert "row 1: method must be of a layer, one of butterfly," in refused(bits(config=config))
    config = {"method": {"conv": "glow", "name": "x"}}
    assert "row 1: method must be what config says, 'x', not 'glow'" in refused(
        bits(config=config)
    )
    said = refused(bits(config={"dataset": {"name": "cats"}}, dataset="cats"))
    assert said.startswith("row 1: dataset must be one of digits, photographs,")
    said = refused(bits(dataset="digits_5bit"))
    assert said == "row 1: dataset must be what config says, 'digits', not 'digits_5bit'"
    for odd in ({"name": ["digits"]}, {"name": "folder", "path": [3]}, "digits", None):
        assert "row 1: dataset must be" in refused(bits(config={"dataset": odd}))


def test_defaults_and_properties_of_a_configuration_count():
    config = json.loads(bits()["config"])
    del config["preset"]
    row = bits() | {"config": json.dumps(config), "cell": cell_id("x", config)}
    check_rows(pd.DataFrame([{**row, "preset": "default"}]), TABLES)
    said = refused({**row, "preset": "paper"})
    assert said == "row 1: preset must be what config says, 'default', not 'paper'"
    data = {"name": "imagenet32", "version": 2021, "bits": 5}
    good = bits(config={"dataset": data}, dataset="imagenet32_2021_5bit")
    check_rows(pd.DataFrame([good]), TABLES)
    said = refused(bits(config={"dataset": {**data, "label": "imagenet32"}}, dataset="imagenet32"))
    assert said.startswith("row 1: dataset must be what config says, 'imagenet32_2021_5bit'")


def test_whole_files_that_are_refused(tmp_path, capsys):
    assert imported(tmp_path / "none.csv", tmp_path) == 1
    assert imported(given(tmp_path), tmp_path, label="a: b") == 1
    assert "without a colon" in capsys.readouterr().err
    rows = pd.DataFrame(theirs())
    for column in ("config", "images", "width"):
        with pytest.raises(RowsError, match=f"columns are missing: {column}"):
            check_rows(rows.drop(columns=column), TABLES)
    with pytest.raises(RowsError, match="no rows"):
        check_rows(rows[:0], TABLES)
    with pytest.raises(RowsError, match="twice"):
        check_rows(pd.concat([rows, rows]), TABLES)
    with pytest.raises(RowsError, match="the rows of one table, not of table2, table3"):
        check_rows(pd.concat([rows, pd.DataFrame([bits()])]), TABLES)
