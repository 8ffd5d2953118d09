"""Rows, results and published figures that are broken, wrong or hostile."""

import io
import json
import shutil
from dataclasses import asdict

import pandas as pd
import pytest
import torch
from fuzz import JSON, TEXTS, contents, damaged, one_sentence, quiet, untouched
from hypothesis import example, given
from hypothesis import strategies as st
from test_contributed import theirs
from test_map import rows_of

from invconv.__main__ import main
from invconv.report.published import COLUMNS, LABELS, published, read_published
from invconv.rows import (
    Part,
    Row,
    RowsError,
    Status,
    collect,
    read_row,
    read_rows,
    read_samples,
    read_table,
    samples_path,
    write_row,
)
from invconv.rows.samples import COLUMNS as OF_SAMPLES
from invconv.rows.samples import write_samples
from invconv.sweeps import locks, states
from invconv.sweeps.cells import run_cell

CPU = torch.device("cpu")
SOURCE = {"machine": "m", "commit": "1", "date": "2026-01-01", "device": "d"}
PART = Part({"method": "finc"}, {"ft_s": 0.25})
ROW = Row(
    "a-1", "table3", Status.OK, "", {"size": 8}, {"a": 1}, {"st_s": 0.5}, SOURCE, {"finc": PART}
)
FIELDS = asdict(ROW)
TEXT = json.dumps(FIELDS, indent=1)
SAMPLES = pd.DataFrame([("finc/st", 0, 0, 0, True, 0.125)] * 9, columns=OF_SAMPLES)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """runs/, results/ and, beside them, a folder that no example may touch."""
    folder = tmp_path_factory.mktemp("place")
    write_row(ROW, folder / "runs" / "good" / "row.json")
    collect(folder / "runs", folder / "results" / "data" / "table3.csv")
    (folder / "outside").mkdir()
    (folder / "outside" / "precious.txt").write_text("x")
    return folder


def read_everywhere(place, content):
    """Reads the content as a row in every way there is; what it is taken for, or None."""
    path = place / "runs" / "bad" / "row.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with untouched(place):
        try:
            row = read_row(path)
        except RowsError as error:
            assert one_sentence(error)
            assert str(path) in str(error)
            row = None
            assert states.state(place / "runs", "bad").status == "error"
            with pytest.raises(RowsError):
                collect(place / "runs", place / "results" / "data" / "table3.csv")
        else:
            assert states.state(place / "runs", "bad").status in list(Status)
            assert row in read_rows(place / "runs")
        assert states.row_status(path.parent) in list(Status)
    return row


@given(data=st.data())
def test_a_damaged_row_is_refused_or_a_row(place, data):
    row = read_everywhere(place, data.draw(damaged(TEXT.encode())))
    assert row is None or row.status in list(Status)


@example(value={"\n": None})
@given(value=JSON)
def test_any_json_is_refused(place, value):
    assert read_everywhere(place, json.dumps(value).encode()) is None


@given(name=st.sampled_from(sorted(FIELDS)), value=JSON | st.sampled_from(list(map(str, Status))))
def test_a_row_with_one_field_of_any_kind(place, name, value):
    row = read_everywhere(place, json.dumps({**FIELDS, name: value}).encode())
    if row is not None:
        assert type(getattr(row, name)) is type(getattr(ROW, name))


@example(name="labels", value=[])
@example(name="values", value=None)
@example(name="values", value={"cell": "b-2"})
@example(name="reason", value=5)
@given(
    name=st.sampled_from(sorted(vars(PART))), value=JSON | st.sampled_from(list(map(str, Status)))
)
def test_a_part_with_one_field_of_any_kind(place, name, value):
    parts = {"finc": {**vars(PART), name: value}}
    row = read_everywhere(place, json.dumps({**FIELDS, "parts": parts}).encode())
    if row is not None:
        (part,) = row.parts.values()
        assert type(getattr(part, name)) is type(getattr(PART, name))


@pytest.mark.parametrize("parts", [[], None, {"x": []}, {"x": None}, {"x": {"cell": "b"}}])
def test_parts_that_are_none(place, parts):
    assert read_everywhere(place, json.dumps({**FIELDS, "parts": parts}).encode()) is None


@given(data=st.data())
def test_damaged_samples_are_read_or_refused(tmp_path_factory, data):
    """A frame with all columns, or one sentence; nothing is collected from what is refused."""
    folder = tmp_path_factory.mktemp("samples")
    path = folder / "runs" / "samples.csv.gz"
    write_row(ROW, folder / "runs" / "row.json")
    write_samples(SAMPLES, path)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    table = folder / "results" / "data" / "table3.csv"
    with untouched(path.parent):
        try:
            found = read_samples(path)
        except RowsError as error:
            assert one_sentence(error)
            assert str(path) in str(error)
            with pytest.raises(RowsError):
                collect(path.parent, table)
            assert not samples_path(table).exists()
        else:
            assert {*OF_SAMPLES} <= {*found.columns}
            assert len(collect(path.parent, table)) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"9" * 10_000,
        TEXT.replace("0.5", "9" * 400).encode(),
        TEXT.replace("0.5", "[0.5]").encode(),
        TEXT.replace('"st_s"', '"cell"').encode(),
        b"\xff\xfe",
        b"",
    ],
    ids=range(7),
)
def test_rows_that_are_too_much(place, content):
    assert read_everywhere(place, content) is None


def test_rows_that_are_no_files(tmp_path):
    (tmp_path / "a" / "row.json").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "row.json").symlink_to("/dev/zero")
    for name in "ab":
        with pytest.raises(RowsError, match="it is no file"):
            read_row(tmp_path / name / "row.json")


def test_a_cell_with_a_broken_row_is_measured_again_by_force_alone(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "row.json").write_text("{")
    arguments = ("c", "t", {}, {}, folder, CPU, lambda folder: {"bpd": 1.0})
    with pytest.raises(RowsError, match="remove it"):
        run_cell(*arguments)
    assert (folder / "row.json").read_text() == "{"
    assert run_cell(*arguments, force=True)[0].status == "ok"


def test_a_cell_removes_links_and_not_what_they_point_to(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "cell"
    (outside / "more").mkdir(parents=True)
    folder.mkdir()
    for name in ("row.json", "traceback.txt", "more/file"):
        (outside / name).write_text("precious")
    for name in ("row.json", "traceback.txt", "more"):
        (folder / name).symlink_to(outside / name)
    with untouched(outside):
        run_cell("c", "t", {}, {}, folder, CPU, lambda folder: 1 / 0, force=True)
    assert read_row(folder / "row.json").status == "error"
    assert not (folder / "more").exists()


def test_collecting_writes_through_no_link(tmp_path):
    outside, results = tmp_path / "outside", tmp_path / "results"
    outside.mkdir()
    results.mkdir()
    collect(tmp_path / "none", outside / "t.csv")
    (outside / "lock").write_text("precious")
    (results / "t.csv").symlink_to(outside / "t.csv")
    (results / ".t.csv.lock").symlink_to(outside / "lock")
    write_row(ROW, tmp_path / "runs" / "row.json")
    with untouched(outside):
        assert len(collect(tmp_path / "runs", results / "t.csv")) == 1


@given(content=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
@example(content=b'{"host": 1, "pid": []}\n{"outcome": {}}\n{"outcome": ')
@example(content=b'{"outcome": "ok"}\n{"host": "h"}\n{"host": "h", "pid": 1, "what": 2}')
def test_any_attempts_and_any_grid(place, content):
    folder = place / "runs" / "locked"
    folder.mkdir(exist_ok=True)
    (folder / locks.ATTEMPTS).write_bytes(content)
    (place / "runs" / "grid.json").write_bytes(content)
    with untouched(place):
        before = states.attempts(folder)
        assert all(isinstance(outcome, str) for outcome in before)
        try:
            assert set(states.read_grid(place / "runs")) >= {"table", "cells", "jobs"}
        except RowsError as error:
            assert one_sentence(error)
    with locks.Lock(folder):
        assert states.attempts(folder) == [*before, "running"]
    assert states.attempts(folder) == [*before, "interrupted"]
    shutil.rmtree(folder)
    (place / "runs" / "grid.json").unlink()


@pytest.fixture(scope="module")
def contributed():
    return pd.DataFrame(theirs())


def imported(place, path, capsys):
    """The exit code of an import that either changes table 3 alone, or nothing at all."""
    results = place / "results"
    before = contents(place)
    code = main(["import", str(path), "--label", "them", "--results", str(results)])
    said = capsys.readouterr()
    after = contents(place)
    changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    changed.discard(results / "data" / ".table3.csv.lock")
    pages = {results / name for name in ("data/table3.csv", "table3.md", "map/table3.csv")}
    assert changed <= (set() if code else pages)
    assert bool(said.err) == bool(code)
    assert "Traceback" not in said.err
    for name in changed:
        name.unlink()
        if name in before:
            name.write_bytes(before[name])
    return code


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious.txt").write_text("x")
    return tmp_path


@quiet
@given(data=st.data())
def test_damaged_contributions(empty, contributed, capsys, data):
    content = contributed.to_csv(index=False).encode()
    path = empty / "outside" / "rows.csv"
    path.write_bytes(data.draw(damaged(content)))
    imported(empty, path, capsys)


@quiet
@given(data=st.data(), text=st.sampled_from(TEXTS))
def test_contributions_with_one_odd_cell(empty, contributed, capsys, data, text):
    """Most are refused; of those that are taken the page could be made."""
    rows = contributed.astype(object)
    rows.iat[
        data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, rows.shape[1] - 1))
    ] = text
    path = empty / "outside" / "rows.csv"
    rows.to_csv(path, index=False)
    imported(empty, path, capsys)


@pytest.mark.parametrize("target", ["rows.csv", "none.csv", ".", "/dev/zero"])
def test_contributions_through_a_link(empty, contributed, capsys, target):
    """What it points to is read where that is a file, and never written."""
    path = empty / "outside" / "rows.csv"
    contributed.to_csv(path, index=False)
    link = empty / "link.csv"
    link.symlink_to(path.parent / target)
    assert imported(empty, link, capsys) == (target != "rows.csv")


def test_contributions_into_a_table_that_is_a_link(empty, contributed, capsys):
    path, data = empty / "outside" / "rows.csv", empty / "results" / "data"
    contributed.to_csv(path, index=False)
    contributed.assign(machine="another").to_csv(empty / "outside" / "theirs.csv", index=False)
    data.mkdir(parents=True)
    (data / "table3.csv").symlink_to(empty / "outside" / "theirs.csv")
    with untouched(empty / "outside"):
        arguments = ["--label", "them", "--results", str(empty / "results")]
        assert main(["import", str(path), *arguments]) == 0
    assert not (data / "table3.csv").is_symlink()
    assert set(read_table(data / "table3.csv")["machine"]) == {"another", "them: m"}
    capsys.readouterr()


@pytest.mark.parametrize("label", ["", " ", "a: b", "a\nb", "<b>", "a|b", "\x1b[31m"])
def test_labels_that_are_refused(empty, contributed, capsys, label):
    path = empty / "outside" / "rows.csv"
    contributed.to_csv(path, index=False)
    with untouched(empty):
        arguments = ["--label", label, "--results", str(empty / "results")]
        assert main(["import", str(path), *arguments]) == 1
    assert "label must be a name" in capsys.readouterr().err


@given(data=st.data())
def test_damaged_results(tmp_path_factory, data):
    """What a damaged results/data/*.csv holds is read or refused, never half merged."""
    folder = tmp_path_factory.mktemp("results")
    path = folder / "table3.csv"
    path.write_bytes(data.draw(damaged(pd.DataFrame(rows_of("table3")).to_csv().encode())))
    write_row(ROW, folder / "runs" / "row.json")
    with untouched(folder):
        try:
            rows = read_table(path)
        except RowsError as error:
            assert one_sentence(error)
            return
    assert {"cell", "machine", "commit"} <= set(rows.columns)


def test_a_report_of_broken_results_writes_nothing(tmp_path, capsys):
    path = tmp_path / "data" / "table3.csv"
    path.parent.mkdir()
    path.write_text('cell,table\na,"table3\n')
    with untouched(tmp_path):
        assert main(["report", "--results", str(tmp_path)]) == 1
        assert capsys.readouterr().err.startswith(f"{path} holds no rows (")


@pytest.mark.parametrize("table", ["table1", "table2", "table3", "table4", "figure4"])
@given(data=st.data())
def test_damaged_published_figures(table, data):
    good = published(table)
    content = data.draw(damaged(good.to_csv(index=False).encode()))
    file = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")
    try:
        found = read_published(file, table)
    except ValueError as error:
        assert one_sentence(error)
        return
    assert list(found.columns) == list(good.columns)
    assert set(found["label"]) <= set(LABELS)


@pytest.mark.parametrize("table", ["table1", "table2", "table3", "table4", "figure4"])
@pytest.mark.parametrize("text", [None, "", "1e999", "9" * 400, "X", "table9"])
@pytest.mark.parametrize("column", COLUMNS)
def test_published_figures_with_one_wrong_column(table, column, text):
    """Missing altogether, empty, huge, an unknown label, another table."""
    figures = published(table).astype(object)
    if text is None:
        figures = figures.drop(columns=column)
    else:
        figures.loc[0, column] = text
    needed = column in ("model", "metric", "source") and text == ""
    exact = column in ("table", "label") or (column == "value" and (table != "table1" or not text))
    file = io.StringIO(figures.to_csv(index=False))
    if text is None or needed or exact:
        with pytest.raises(ValueError, match=f"^the published figures of {table}") as caught:
            read_published(file, table)
        assert one_sentence(caught.value)
    else:
        assert read_published(file, table)[column].astype(str)[0] == text
