"""What became of a sweep: what is a row, what is listed, and what is forgotten."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from test_map import rows_of

from invconv import build
from invconv.__main__ import main
from invconv.rows import Row, Status, collect, read_table, write_row
from invconv.rows.bits import BITS, bits_path, read_bits
from invconv.rows.provenance import ROOT
from invconv.rows.row import now
from invconv.sweeps import ending, progress, states
from invconv.sweeps.locks import Lock
from invconv.sweeps.overrides import check_choices
from invconv.tables.table import tables
from invconv.validation import UnsupportedShape

SOURCE = {"machine": "m", "commit": "0012345678", "date": "2026-01-01T00:00:00Z"}
SOURCE |= {"device": "cpu", "threads": 1, "torch": "2", "python": "3", "dirty": False}


def refused(done, tmp_path, sentence):
    """A sweep that measured nothing: exit code 1, a sentence, nothing in results/."""
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()
    assert not list(tmp_path.rglob("row.json"))


def test_a_sweep_without_its_data_leaves_no_row(reproduce, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("INVCONV_DATA", raising=False)
    done = reproduce("table2.py", "dataset=cifar10", "part=train", "method=glow,finc,cinc")
    refused(done, tmp_path, "give dataset.root=DIR in a sweep")
    assert "0 of 3 cells ok; nothing was collected" in done.stdout
    assert done.stderr.count(" and 1 more: refused: cifar10 is neither below a root") == 1
    assert main(["list", str(tmp_path / "runs")]) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["+method.options.kernel=3"], "did you mean kernel_size?"),
        (["method.conv=fincc"], "did you mean finc?"),
        (["method=fincc"], "table1: unknown method 'fincc'"),
        (["method=finc,glwo"], "did you mean glow?"),
        (["device=cudaa"], "device=cudaa is not here: "),
    ],
)
def test_a_misspelled_word_leaves_no_row(reproduce, tmp_path, words, sentence):
    refused(reproduce("table1.py", "method=finc", "n=8", *words), tmp_path, sentence)


def test_a_misspelled_method_of_a_block_leaves_no_row(reproduce, tmp_path):
    small = ("preset=tiny", "results=results", "dataset=digits", "part=time", "method=glow")
    done = reproduce("table2.py", *small, "methods=[glow,fincc]")
    refused(done, tmp_path, "unknown layer 'fincc'")


def test_three_channels_that_finc_refuses_are_a_row(reproduce, tmp_path):
    done = reproduce("table1.py", "n=8", "channels=3", "method=finc,glow")
    assert done.returncode == 1
    frame = read_table(tmp_path / "results" / "data" / "table1.csv").set_index("method")
    assert frame["status"].to_dict() == {"finc": "unsupported", "glow": "ok"}
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"\[1/2\] finc-c3-n8-\w+: unsupported: .* left", lines[0])
    assert re.fullmatch(r"\[2/2\] glow-c3-n8-\w+: .*; took [\d.]+ s", lines[1])


def test_a_shape_is_told_from_an_option():
    with pytest.raises(UnsupportedShape, match="multiple of 4, not 3"):
        build("finc", (3, 8, 8))
    with pytest.raises(ValueError, match="kernel_size must be at least 1") as error:
        build("finc", (12, 8, 8), kernel_size=0)
    assert type(error.value) is ValueError


def one_pair(table):
    """The rows of a table that are of one method and data set, and one of them that failed."""
    rows = pd.DataFrame(rows_of(table))
    label = "model" if "model" in rows else "method"
    first = rows[rows[label] == rows[label].iloc[0]]
    if "dataset" in first:
        first = first[first["dataset"] == first["dataset"].iloc[0]]
    failed = first.head(1).select_dtypes(exclude="float").assign(status="error", reason="Oops: x")
    return first, failed


@pytest.mark.parametrize("table", ["table1", "table2", "table3", "figure4"])
def test_a_page_prints_no_pair_without_a_row(table):
    for rows in one_pair(table):
        text = tables()[table].page(rows).markdown()
        grids = [line for line in text.splitlines() if line.startswith("|")]
        assert not [line for line in grids if "missing" in line]


def test_a_method_without_rows_is_no_line_of_table_2():
    rows, _ = one_pair("table2")
    text = tables()["table2"].page(rows).markdown()
    for other in ("Inverse-Flow on", "MaCow on", "of CInC on"):
        assert other not in text


def test_an_error_stands_beside_no_result_of_its_cell(tmp_path):
    good = Row("a", "t", Status.OK, values={"bpd": 1.0}, provenance=SOURCE)
    bad = replace(good, status=Status.ERROR, provenance={**SOURCE, "commit": "new"}, values={})
    alone = replace(bad, cell="b")
    for number, row in enumerate((good, bad, alone)):
        write_row(row, tmp_path / "runs" / str(number) / "row.json")
    frame = collect(tmp_path / "runs", tmp_path / "results" / "data" / "t.csv")
    assert frame[["cell", "status"]].to_numpy().tolist() == [["a", "ok"], ["b", "error"]]


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Two cells of table 2 with rows, pages and bits, and a third that began."""
    monkeypatch.chdir(tmp_path)
    runs, results = tmp_path / "runs", tmp_path / "results"
    for name in ("tiny-digits-glow", "tiny-digits-finc"):
        method = name.rpartition("-")[2]
        labels = {"preset": "tiny", "dataset": "digits", "method": method, "seed": 0}
        row = Row(name, "table2", Status.OOM, "large", labels, {}, {}, SOURCE)
        write_row(row, runs / "table2" / name / "row.json")
        np.savez_compressed(runs / "table2" / name / BITS, bits=np.ones(2, np.float32))
    with Lock(runs / "other" / "deep" / "begun"):
        pass
    states.record("table2", runs / "table2", ["tiny-digits-finc", "tiny-digits-cinc"])
    collect(runs, results / "data" / "table2.csv", "table2", tables()["table2"].write_page)
    return tmp_path


def test_every_cell_below_a_folder_is_listed_with_its_age(measured, capsys):
    assert main(["list", "runs"]) == 1
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert set(lines) == {
        "table2/tiny-digits-finc",
        "table2/tiny-digits-cinc",
        "table2/tiny-digits-glow",
        "other/deep/begun",
        "4",
    }
    assert re.fullmatch(r"oom: large, \d+ d ago", lines["table2/tiny-digits-glow"])
    assert re.fullmatch(r"interrupted: attempt 1, .* s ago", lines["other/deep/begun"])
    assert main(["list", "runs/table2/tiny-digits-glow"]) == 1
    assert capsys.readouterr().out.startswith("tiny-digits-glow  oom: large")


@pytest.mark.parametrize(
    "words", [["tiny-digits-glow"], ["tiny-*-glow"], ["runs/table2/tiny-digits-glow/"]]
)
def test_a_cell_that_is_forgotten_is_nowhere(measured, capsys, words):
    assert main(["forget", *words]) == 0
    assert "removed tiny-digits-glow" in capsys.readouterr().out
    assert [path.name for path in (measured / "runs" / "table2").iterdir() if path.is_dir()] == [
        "tiny-digits-finc"
    ]
    frame = read_table(measured / "results" / "data" / "table2.csv")
    assert frame["cell"].tolist() == ["tiny-digits-finc"]
    assert "tiny-digits-glow" not in (measured / "results" / "table2.md").read_text()
    main(["list", "runs"])
    assert "glow" not in capsys.readouterr().out


def test_forgetting_a_wanted_cell_and_one_of_results_alone(measured, capsys):
    assert main(["forget", "tiny-digits-cinc"]) == 0
    assert states.read_grid(measured / "runs" / "table2")["cells"] == ["tiny-digits-finc"]
    assert main(["forget", "tiny-digits-glow", "--runs", "elsewhere"]) == 0
    assert "1 rows of results" in capsys.readouterr().out
    assert (measured / "runs" / "table2" / "tiny-digits-glow").is_dir()


def test_what_cannot_be_forgotten(measured, capsys):
    before = (measured / "results" / "data" / "table2.csv").read_bytes()
    assert main(["forget", "tiny-digits-glwo"]) == 1
    assert capsys.readouterr().err == "no cell is called tiny-digits-glwo\n"
    with Lock(measured / "runs" / "table2" / "tiny-digits-glow"):
        assert main(["forget", "*"]) == 1
    assert "nothing was removed" in capsys.readouterr().err
    assert (measured / "results" / "data" / "table2.csv").read_bytes() == before


def checkpoint(folder, step, steps):
    folder.mkdir(parents=True, exist_ok=True)
    weights = {"w": torch.ones(3, dtype=torch.bfloat16), "n": torch.tensor(2)}
    saved = {"flow": weights, "state": {"step": step}, "settings": {"steps": steps}}
    torch.save(saved, folder / "last.pt")


def test_the_step_of_a_checkpoint_is_read_without_torch(tmp_path):
    assert progress.reached(tmp_path) == ""
    log = tmp_path / "log.csv"
    log.write_text("step,train_bpd\n50,3.1\n100,2.9\n15", encoding="utf-8")
    assert progress.reached(tmp_path) == "step 100 (no checkpoint)"
    checkpoint(tmp_path, 348, 600)
    assert progress.reached(tmp_path) == "step 348 of 600 (checkpoint)"
    log.write_text("step,train_bpd\n400,2.9\n", encoding="utf-8")
    assert progress.reached(tmp_path) == "step 400 of 600 (checkpoint at 348)"
    (tmp_path / "last.pt").write_bytes(b"nothing")
    assert progress.reached(tmp_path) == "step 400 (no checkpoint)"


def test_a_checkpoint_that_would_run_code_is_not_read(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"state": {"step": 1}, "settings": {"steps": 2}, "x": Evil()}, tmp_path / "last.pt")
    assert progress.reached(tmp_path) == ""
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.25, "0.2 s"),
        (89, "89 s"),
        (91, "2 min"),
        (5000, "83 min"),
        (7200, "2 h"),
        (4e5, "5 d"),
    ],
)
def test_durations(seconds, words):
    assert progress.duration(seconds) == words
    assert progress.age("no date") == ""
    assert progress.age(now()) in ("0.0 s", *(f"{n / 10} s" for n in range(99)))


@pytest.mark.parametrize("launch", ["basic", pytest.param("local", marks=pytest.mark.slow)])
def test_a_sweep_that_is_terminated_says_that_the_same_command_resumes_it(tmp_path, launch):
    words = ["dataset=digits", "method=glow,finc", "part=train", "progress=false"]
    words += [f"launch={launch}", "budget.training.steps=100000", "budget.training.log_every=1"]
    sweep = subprocess.Popen(
        [sys.executable, str(ROOT / "reproductions" / "table2.py"), "-m", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    count = {"basic": 1, "local": 2}[launch]
    while time.monotonic() < deadline and count > sum(
        len(log.read_text(encoding="utf-8").splitlines()) > 3 for log in tmp_path.rglob("log.csv")
    ):
        time.sleep(0.2)
    sweep.send_signal(signal.SIGTERM)
    said, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 128 + signal.SIGTERM
    *_, glow, finc, last = said.splitlines()
    interrupted = r"interrupted at step \d+ of 100000 \(checkpoint\), attempt 1"
    assert re.search(f"glow.*: {interrupted}", glow)
    assert re.search("finc.*: " + {"basic": "missing$", "local": interrupted}[launch], finc)
    assert last == "table2 was interrupted: the same command resumes it"
    assert not (tmp_path / "results").exists()


def test_a_signal_that_is_ignored_ends_no_sweep():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending.stopped_by_signals():
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    "words",
    [
        ["method=glob(fin*)", "n=8", "--help"],
        ["--config-dir", "conf", "launch=slrm"],
        ["launch=slrm", "hydra.searchpath=[file:///conf]"],
        ["nothing=fincc", "launch=nonsense", "launch='", "n=8,9"],
    ],
)
def test_what_is_left_to_hydra(words):
    check_choices(words, ROOT / "reproductions" / "conf")


@pytest.mark.parametrize("words", ["launch=slrm", "launch='slrm'", "launch=basic,slrm"])
def test_a_near_miss_of_a_group(words):
    with pytest.raises(ValueError, match=r"unknown launch 'slrm'.*; did you mean slurm\?"):
        check_choices([words], ROOT / "reproductions" / "conf")


def test_the_library_of_another_package_warns_in_no_sweep(reproduce):
    small = ("preset=tiny", "dataset=digits", "part=train", "progress=false", "pictures=false")
    done = reproduce("table2.py", *small, "method=nflows_1x1")
    assert (done.returncode, done.stderr) == (0, "")


def test_bits_of_a_forgotten_cell_go_with_it(measured):
    data = measured / "results" / "data" / "table2.csv"
    for name in ("tiny-digits-glow", "tiny-digits-finc"):
        path = measured / "runs" / "table2" / name / "row.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "ok"}))
    collect(measured / "runs", data, "table2")
    assert set(read_bits(bits_path(data))) == {"tiny-digits-glow", "tiny-digits-finc"}
    assert main(["forget", "tiny-digits-glow"]) == 0
    assert set(read_bits(bits_path(data))) == {"tiny-digits-finc"}
