"""Text stays text: in every locale, on every terminal, whatever it looks like in a CSV file."""

import json
import re

import pandas as pd
import pytest
from child import LATIN, python, sweep

from invconv.rows import Row, RowsError, Status, collect, read_row, read_table, write_row
from invconv.rows.columns import read_csv
from invconv.rows.provenance import ROOT, machine
from invconv.rows.samples import read_samples, write_samples


def test_the_readme_is_written_in_a_latin_1_locale(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    (tmp_path / "results").symlink_to(ROOT / "results")
    script = (
        "from pathlib import Path\n"
        "from invconv.rows import read_table\n"
        "from invconv.tables.readme import write_readme\n"
        "from invconv.tables.table import tables\n"
        "read = {name: read_table(Path('results/data', f'{name}.csv')) for name in tables()}\n"
        "write_readme(read, Path('README.md'))\n"
    )
    python(tmp_path, "-c", script, **LATIN)
    written = (tmp_path / "README.md").read_text(encoding="utf-8")
    made = re.compile(r"--readme -->.*?<!-- end", re.DOTALL)
    assert made.sub("", written) == made.sub("", readme)
    assert "ST ÷ Glow" in written


def test_a_training_opens_every_file_with_an_encoding(tmp_path):
    """In a process where each that does not is an error, see children/sitecustomize.py."""
    asked = ("preset=tiny", "part=train", "dataset=digits", "method=glow")
    assert "1 of 1 cells ok" in sweep(tmp_path, *asked, table="table2", **LATIN)
    assert "tiny-digits-glow" in python(tmp_path, "-m", "invconv", "list", "runs/tiny/table2")


def test_list_on_an_ascii_terminal(tmp_path):
    assert "×" in python(tmp_path, "-m", "invconv", "list", PYTHONIOENCODING="utf-8")
    said = python(tmp_path, "-m", "invconv", "list", PYTHONIOENCODING="ascii")
    assert said.isascii()
    assert "\\xd7" in said


@pytest.mark.parametrize(
    "text", ["NA", "null", "None", "nan", "1e3", "007", "3.10", "inf", "True"]
)
def test_a_machine_that_is_called(tmp_path, monkeypatch, text):
    """Whatever its name looks like, its rows are collected, and keep their text."""
    monkeypatch.setenv("INVCONV_MACHINE", text)
    named = {"machine": machine(), "commit": text, "date": "2026-01-01", "torch": text}
    row = Row(
        "c", "t", Status.OK, labels={"method": text}, values={"st_s": 1e-5}, provenance=named
    )
    write_row(row, tmp_path / "runs" / "c" / "row.json")
    path = tmp_path / "results" / "data" / "t.csv"
    first = collect(tmp_path / "runs", path)
    assert collect(tmp_path / "runs", path).equals(first)
    assert first[["machine", "commit", "torch", "method"]].iloc[0].tolist() == [text] * 4
    assert first["st_s"].tolist() == [1e-5]


def test_what_is_all_numbers_as_python_writes_them_is_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,c,d,e,f\n1,0.1,True,007,1.50,\n2,,False,8,2,\n", encoding="utf-8")
    kinds = {name: str(kind) for name, kind in read_csv(path).dtypes.items()}
    numbers = {"a": "int64", "b": "float64", "c": "bool", "f": "float64"}
    assert kinds == {**numbers, "d": "str", "e": "str"}


def test_samples_of_a_machine_that_is_called_na(tmp_path):
    source = {"cell": "c", "machine": "NA", "commit": "1", "date": "2026-01-01T00:00:00Z"}
    call = {"call": "null", "process": 0, "round": 0, "window": 0, "quiet": True, "seconds": 0.5}
    write_samples(pd.DataFrame([{**source, **call}]), tmp_path / "s.csv.gz")
    assert read_samples(tmp_path / "s.csv.gz").to_dict("records") == [{**source, **call}]


def test_a_date_that_a_spreadsheet_wrote_is_refused(tmp_path):
    header = "cell,table,status,reason,machine,commit,date\n"
    path = tmp_path / "t.csv"
    path.write_text(f"{header}c,t,ok,,m,1,29/11/2026 10:00\n", encoding="utf-8")
    with pytest.raises(RowsError, match=r"row 1: date must be an ISO 8601 time .*29/11/2026"):
        read_table(path)
    path.write_text(f"{header}c,t,ok,,m,1,2026-11-29T12:00:00+02:00\n", encoding="utf-8")
    assert read_table(path)["date"].tolist() == ["2026-11-29T10:00:00Z"]
    row = {"cell": "c", "table": "t", "status": "ok"}
    source = {"machine": "m", "commit": "1", "date": "29/11/2026 10:00"}
    (tmp_path / "row.json").write_text(json.dumps({**row, "provenance": source}), encoding="utf-8")
    with pytest.raises(RowsError, match="ISO 8601"):
        read_row(tmp_path / "row.json")
