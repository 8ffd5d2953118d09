"""Rows that somebody submits with their weights: what is taken, and what is refused."""

import json
import pickle
import shutil
from operator import attrgetter

import numpy as np
import pandas as pd
import pytest
import torch
from fuzz import Evil
from pages import code_blocks
from test_map import rows_of

from invconv import flows
from invconv.__main__ import main
from invconv.rows import Row, RowsError, Status, cell_id, write_row
from invconv.rows.provenance import ROOT, provenance
from invconv.sweeps.config import identity
from invconv.tables.submission import check_submission, read_weights
from invconv.tables.table2 import TABLE, measure


@pytest.fixture(scope="module")
def measured(configured, tmp_path_factory):
    """A sweep's folder with one cell of table 2, trained for three steps, and its row."""
    runs = tmp_path_factory.mktemp("sweep") / "runs" / "table2"
    settings = ("preset=tiny", "dataset=digits", "method=finc", "draws=2")
    config = configured(*settings, "progress=false", f"runs={runs}", "results=.")
    folder = runs / TABLE.cell_of(config)
    folder.mkdir(parents=True)
    device = torch.device("cpu")
    values = measure(config, device, folder)
    labels = {name: attrgetter(place)(config) for name, place in TABLE.labels.items()}
    source = provenance(device) | {"commit": "0123456789", "dirty": False}
    what = (folder.name, "table2", Status.OK, "", labels, identity(config), values, source)
    write_row(Row(*what), folder / "row.json")
    return runs.parents[1]


@pytest.fixture(scope="module")
def submitted(measured, tmp_path_factory):
    """What the page for authors says how to make: rows and weights in one folder."""
    folder = tmp_path_factory.mktemp("theirs") / "submission"
    folder.mkdir()
    results = measured / "mine"
    assert main(["collect", str(measured / "runs" / "table2"), "--results", str(results)]) == 0
    shutil.copy(results / "data" / "table2.csv", folder)
    blocks = (block.text for block in code_blocks(ROOT / "docs" / "assess.md"))
    (code,) = (text for text in blocks if "best.pt" in text)
    code = code.replace("runs/table2", f"{measured}/runs/table2")
    exec(code.replace("submission/", f"{folder}/"), {})
    return folder


@pytest.fixture
def folder(submitted, tmp_path):
    """A copy of it to spoil."""
    return shutil.copytree(submitted, tmp_path / "submission")


def weights_of(folder):
    (path,) = folder.glob("*.npz")
    return path


def change(folder, **changes):
    """The row says something else."""
    rows = pd.read_csv(folder / "table2.csv", dtype=str)
    rows.assign(**changes).to_csv(folder / "table2.csv", index=False)


def change_weights(folder, edit):
    path = weights_of(folder)
    arrays = dict(np.load(path))
    edit(arrays)
    np.savez(path, **arrays)


def reasons(folder):
    with pytest.raises(RowsError) as caught:
        check_submission(folder)
    return str(caught.value)


def test_a_good_one_is_verified_again_and_can_be_imported(folder, tmp_path, capsys):
    assert sorted(path.suffix for path in folder.iterdir()) == [".csv", ".npz"]
    (folder / "notes.md").write_text("Trained on a laptop.\n")
    assert main(["check-submission", str(folder)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "table2.csv: 1 row of table2 fits"
    bpd = float(pd.read_csv(folder / "table2.csv")["bpd"].iloc[0])
    assert printed[1].startswith(f"{weights_of(folder).stem}: round trip ")
    assert printed[1].endswith(f"bpd {bpd:.4f}, and {bpd:.4f} in its row")
    assert printed[2].endswith("everything fits, weights verified: 1")
    rows, label = str(folder / "table2.csv"), ["--label", "a friend"]
    assert main(["import", rows, *label, "--results", str(tmp_path / "results")]) == 0


def test_weights_are_numbers_and_never_run(folder, tmp_path):
    path = weights_of(folder)
    whole = path.read_bytes()
    executed = tmp_path / "executed"
    path.rename(path.with_suffix(".pt"))
    assert f"holds {path.stem}.pt: rows come as .csv, weights as .npz" in reasons(folder)
    path.with_suffix(".pt").unlink()
    for content in (pickle.dumps(Evil(executed)), b"", whole[: len(whole) // 2], b"PK\x03\x04"):
        path.write_bytes(content)
        assert f"{path.name} holds no weights: " in reasons(folder)
    array = np.array([Evil(executed)], dtype=object)
    for arrays in ({"x": array}, {"x": np.array(["text"])}):
        np.savez(path, allow_pickle=True, **arrays)
        assert f"{path.name} holds no weights: " in reasons(folder)
    assert not executed.exists()


def test_weights_that_do_not_fit_their_row(folder):
    path = weights_of(folder)
    name = "levels.0.1.weight"
    whole = path.read_bytes()
    for edit, message in (
        (lambda arrays: arrays.pop(name), f"it has no {name!r}"),
        (lambda arrays: arrays.update(more=np.zeros(2)), "'more' has no place in this one"),
        (lambda arrays: arrays.update({name: arrays[name][:1]}), "has shape"),
        (lambda arrays: arrays.update({name: arrays[name] * np.nan}), "holds NaN or infinity"),
    ):
        change_weights(folder, edit)
        assert message in reasons(folder)
        path.write_bytes(whole)
    other = path.with_name("other.npz")
    shutil.copy(path, other)
    assert reasons(folder) == "other.npz belongs to no row"
    other.unlink()
    path.unlink()
    assert f"its weights, {path.name}, are missing" in reasons(folder)


def test_a_round_trip_that_fails_is_named(folder):
    """Taps so large that the inverse overflows, in float64, too."""

    def edit(arrays):
        arrays["levels.0.1.weight"] = np.full_like(arrays["levels.0.1.weight"], 1e20)

    change_weights(folder, edit)
    assert "the flow does not invert: relative errors " in reasons(folder)


def test_weights_of_another_training_are_seen_by_their_bits(folder):
    """They invert, and are not those of the row."""
    rng = np.random.default_rng(0)

    def edit(arrays):
        for name, array in arrays.items():
            if array.dtype == np.float32:
                arrays[name] = (array + 0.03 * rng.standard_normal(array.shape)).astype("f4")

    change_weights(folder, edit)
    assert "bits per dimension on the test split, and its row says" in reasons(folder)


def test_of_a_gpu_other_noise_is_allowed(folder):
    bpd = pd.read_csv(folder / "table2.csv")["bpd"].iloc[0]
    change(folder, bpd=str(bpd + 0.0015), cuda="13.0")
    (found,) = check_submission(folder)
    assert found.bpd == pytest.approx(bpd, abs=1e-4)
    change(folder, cuda="")
    assert "more than 0.0010 apart" in reasons(folder)


def test_a_claim_that_is_too_good_and_a_row_that_does_not_fit(folder, capsys):
    rows = pd.read_csv(folder / "table2.csv")
    change(folder, bpd=str(rows["bpd"].iloc[0] - 0.05))
    assert "bits per dimension on the test split, and its row says" in reasons(folder)
    change(folder, method="glow")
    assert main(["check-submission", str(folder)]) == 1
    error = capsys.readouterr().err
    assert error == "table2.csv: row 1: method must be what config says, 'finc', not 'glow'\n"
    config = {**json.loads(rows["config"].iloc[0]), "budget": {"levels": 2}}
    cell = cell_id(rows["cell"].iloc[0].rpartition("-")[0], config)
    change(folder, method="finc", config=json.dumps(config), cell=cell)
    weights_of(folder).rename(folder / f"{cell}.npz")
    assert f"{cell}: its config is no configuration of table2" in reasons(folder)


def test_a_configuration_looks_nothing_up(folder, monkeypatch):
    monkeypatch.setenv("SECRET", "finc")
    rows = pd.read_csv(folder / "table2.csv")
    config = json.loads(rows["config"].iloc[0])
    config["method"]["conv"] = "finc"
    config["budget"]["training"]["schedule"] = "${oc.env:SECRET}"
    cell = cell_id(rows["cell"].iloc[0].rpartition("-")[0], config)
    change(folder, config=json.dumps(config), cell=cell)
    weights_of(folder).rename(folder / f"{cell}.npz")
    assert f"{cell}: its config holds ${{, by which" in reasons(folder)


def test_without_the_data_the_round_trip_is_verified_on_random_images(folder, monkeypatch):
    def nowhere(**_):
        raise FileNotFoundError("there are no files")

    monkeypatch.setattr("invconv.tables.submission.load", nowhere)
    sentences = []
    (found,) = check_submission(folder, say=sentences.append)
    assert found.bpd is None and found.round_trip_error < 1e-3
    assert sentences[-1].endswith("no data here for its bpd")


def test_rows_that_no_training_made_come_without_weights(tmp_path, capsys):
    rows = pd.read_csv(ROOT / "results" / "data" / "table1.csv", dtype=str).iloc[:2]
    rows.to_csv(tmp_path / "rows.csv", index=False)
    assert check_submission(tmp_path) == []
    assert main(["check-submission", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "2 rows of table1 fit" in printed and "weights verified: 0" in printed


def test_folders_that_hold_no_submission(tmp_path):
    assert reasons(tmp_path / "none").startswith("there is no folder")
    assert reasons(tmp_path).endswith("holds no rows: add a .csv file")
    (tmp_path / "run.py").write_text("print()")
    assert "holds run.py: rows come as .csv" in reasons(tmp_path)
    (tmp_path / "run.py").unlink()
    (tmp_path / "inner").mkdir()
    assert "holds inner: rows come as .csv" in reasons(tmp_path)
    (tmp_path / "inner").rmdir()
    (tmp_path / "rows.csv").write_text("x\n1\n")
    assert reasons(tmp_path).startswith("rows.csv: ")
    pd.DataFrame(rows_of("table3")[:1]).to_csv(tmp_path / "rows.csv", index=False)
    assert "rows.csv: row 1: " in reasons(tmp_path)


def test_large_files_are_not_unpacked(folder, monkeypatch):
    monkeypatch.setattr("invconv.tables.submission.LARGEST", 1000)
    path = weights_of(folder)
    with pytest.raises(RowsError, match=r"unpacks to .* bytes, more than 1000"):
        read_weights(path)


def test_what_the_weights_are_written_from_is_the_best_of_the_training(measured, submitted):
    """The page's lines take the same weights as `evaluate`."""
    path = weights_of(submitted)
    flow = flows.load(measured / "runs" / "table2" / path.stem / "best.pt")
    state = flow.state_dict()
    arrays = read_weights(path)
    assert arrays.keys() == state.keys()
    assert all(torch.equal(arrays[name], state[name]) for name in state)
