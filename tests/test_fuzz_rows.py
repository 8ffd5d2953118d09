"""Rows, results, published figures and configurations that are broken, wrong or hostile."""

import io
import json
import traceback
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from fuzz import JUNK, TEXTS, contents, damaged, one_sentence, untouched
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from omegaconf.errors import OmegaConfBaseException
from test_map import rows_of

from invconv.__main__ import main
from invconv.bench import (
    Row,
    claims,
    collect,
    read_row,
    read_rows,
    read_table,
    run_cell,
    states,
    write_row,
)
from invconv.bench.cells import classify
from invconv.bench.provenance import ROOT
from invconv.bench.rows import STATUSES, CellError, RowsError, cell_id
from invconv.bench.sweep import identify
from invconv.data import load
from invconv.report.published import published, read_published
from invconv.training import TrainingOptions, build_flow

CPU = torch.device("cpu")
SOURCE = {"machine": "m", "commit": "1", "date": "2026-01-01", "device": "d"}
ROW = Row("a-1", "table3", "ok", "", {"size": 8}, {"a": 1}, {"st_s": 0.5}, SOURCE)
TEXT = json.dumps(vars(ROW), indent=1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


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
            assert states.state(place / "runs", "bad").status in STATUSES
            assert row in read_rows(place / "runs")
        assert states.row_status(path.parent) in STATUSES
    return row


@given(data=st.data())
def test_a_damaged_row_is_refused_or_a_row(place, data):
    row = read_everywhere(place, data.draw(damaged(TEXT.encode())))
    assert row is None or row.status in STATUSES


@example(value={"\n": None})
@given(value=JSON)
def test_any_json_is_refused(place, value):
    assert read_everywhere(place, json.dumps(value).encode()) is None


@given(name=st.sampled_from(sorted(vars(ROW))), value=JSON | st.sampled_from(STATUSES))
def test_a_row_with_one_field_of_any_kind(place, name, value):
    row = read_everywhere(place, json.dumps({**vars(ROW), name: value}).encode())
    if row is not None:
        assert type(getattr(row, name)) is type(getattr(ROW, name))


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
def test_any_claim_and_any_grid(place, content):
    folder = place / "runs" / "claimed"
    folder.mkdir(exist_ok=True)
    (folder / "claim.0").write_bytes(content)
    (place / "runs" / "grid.json").write_bytes(content)
    with untouched(place):
        assert isinstance(claims.read_claim(folder / "claim.0"), dict)
        assert states.attempts(folder)
        try:
            assert set(states.read_grid(place / "runs")) >= {"table", "cells", "jobs"}
        except RowsError as error:
            assert one_sentence(error)
    (place / "runs" / "grid.json").unlink()


@pytest.fixture(scope="module")
def contributed():
    return pd.DataFrame(rows_of("table3"))


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


def quiet(test):
    """Function-scoped fixtures are the same for all examples, and meant so."""
    return settings(suppress_health_check=list(HealthCheck))(test)


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
    assert set(found["label"]) <= {"V", "R", "I"}


@pytest.fixture(scope="module")
def configurations():
    """Composes table 2's configuration in this process."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("table2", ROOT / "reproductions" / "table2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def composed(overrides, folder=ROOT / "reproductions" / "conf"):
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(folder), version_base="1.3"):
            return compose("table2", overrides), module

    yield composed
    GlobalHydra.instance().clear()


KEYS = [
    "method.name",
    "method.conv",
    "method.step",
    "+method.options.kernel_size",
    "+method.options.max_growth",
    "+method.options.inverse_method",
    "dataset.name",
    "dataset.bits",
    "budget.levels",
    "budget.width",
    "budget.training.steps",
    "budget.training.batch_size",
    "budget.training.optimizer",
    "budget.training.ema",
    "likelihood.dequantization",
    "likelihood.preprocessing",
    "seed",
    "method",
    "dataset",
    "preset",
    "nonsense",
]
VALUES = [
    *TEXTS[:-2],
    TEXTS[-1],
    *(str(junk) for junk in JUNK),
    "0",
    "1e3",
    "10000000000000",
    "{a:1}",
    "${seed}",
]


@example(key="dataset", value="[[1]]")
@settings(
    max_examples=20, phases=[Phase.explicit, Phase.generate]
)  # composing takes a tenth of a second
@given(key=st.sampled_from(KEYS), value=st.sampled_from(VALUES))
def test_any_override_is_refused_or_builds(configurations, place, key, value):
    """By Hydra, as a cell's name, or when the flow is built: always with a reason."""
    value = value if set(value) <= set("${}.:") | set(map(chr, range(48, 123))) else repr(value)
    with untouched(place):
        try:
            config, table2 = configurations([f"{key}={value}"])
        except (HydraException, OmegaConfBaseException, ValueError, OverflowError) as error:
            assert str(error)
            return
        except TypeError as error:  # Hydra's own, of a group that is a list of lists
            assert "hydra" in traceback.extract_tb(error.__traceback__)[-1].filename
            return
        try:
            cell, _ = identify(config, table2.label(config))
        except (CellError, OmegaConfBaseException, HydraException) as error:
            assert str(error)
            return
        assert Path(cell).name == cell
        assume(config.budget.width < 10**4 or config.budget.width >= 10**12)
        try:
            TrainingOptions(**config.budget.training)
            build_flow(table2.describe_flow(config, load("digits", "test")))
        except (TypeError, ValueError, OverflowError) as error:
            assert one_sentence(error)
        except RuntimeError as error:
            assert classify(error) == "oom" or "overflow" in str(error)


@given(data=st.data())
def test_damaged_configuration_files(configurations, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("conf")
    for source in (ROOT / "reproductions" / "conf").rglob("*.yaml"):
        target = folder / source.relative_to(ROOT / "reproductions" / "conf")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    path = folder / "method" / "finc.yaml"
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    with untouched(folder):
        try:
            configurations(["method=finc"], folder)
        except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
            assert str(error)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch trace']",
        "name: !!python/name:os.system",
        "options: {_target_: os.system, command: touch trace}",
        "conv: ${oc.create:{_target_:os.system}}",
    ],
)
def test_a_hostile_configuration_runs_nothing(configurations, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "conf"
    for source in (ROOT / "reproductions" / "conf").rglob("*.yaml"):
        target = folder / source.relative_to(ROOT / "reproductions" / "conf")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    (folder / "method" / "finc.yaml").write_text(f"name: finc\nconv: finc\n{text}\n")
    with untouched(tmp_path), pytest.raises(Exception, match=r".") as caught:
        config, table2 = configurations(["method=finc"], folder)
        identify(config, table2.label(config))
        build_flow(table2.describe_flow(config, load("digits", "test")))
    assert not isinstance(caught.value, AssertionError)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("label", ["", "../../evil", "a/b", "a\\b", "a\nb", "a\x00b", "x" * 201])
def test_names_of_cells(label):
    with pytest.raises(CellError, match="a cell's name is that of a folder") as caught:
        cell_id(label, {})
    assert one_sentence(caught.value)


@pytest.mark.slow
def test_a_sweep_does_not_leave_its_folder(reproduce, tmp_path):
    done = reproduce("table2.py", "dataset=digits", "method=glow", "method.name=../../x")
    assert done.returncode == 2
    assert done.stderr.startswith("table2: a cell's name is that of a folder")
    assert "Traceback" not in done.stderr
    assert not contents(tmp_path)
