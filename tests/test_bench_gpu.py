"""The GPU session and its page, tried on a CPU with tiny shapes."""

import os
import subprocess
import sys

import pandas as pd
import pytest
import torch

from invconv.bench import layer_timing
from invconv.rows import Incorrect, read_table
from invconv.rows.provenance import ROOT
from invconv.solvers.cuda import nvrtc
from invconv.solvers.cuda.resources import CHIPS, Used, parse
from invconv.tables import cuda_resources, gpu_session
from invconv.tables.gpu import TABLE
from invconv.tables.importing import check_rows

CPU = torch.device("cpu")
BARE = """
import sys
ABSENT = "hydra omegaconf submitit jinja2 matplotlib tabulate scipy sklearn PIL tqdm datasets"
for name in ABSENT.split():
    sys.modules[name] = None
"""
"""A machine with torch, numpy and pandas alone."""
SESSION = f"""{BARE}
from pathlib import Path
from invconv.tables.gpu_session import session
sys.exit(session(Path(sys.argv[1]), device="cpu", tiny=True))
"""
COMMAND = f"""{BARE}
from invconv.__main__ import main
sys.exit(main(["bench", "gpu", "--device", "cpu", "--tiny", *sys.argv[1:]]))
"""


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=500,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The folder of a tiny session on a bare machine, and what it printed."""
    folder = tmp_path_factory.mktemp("session")
    done = python(SESSION, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.fixture
def rows(measured):
    """Its rows."""
    return read_table(measured[0] / "results" / "data" / "gpu.csv")


def test_every_cell_has_an_ok_row(rows):
    assert (rows["status"] == "ok").all()
    layers = rows[rows["part"] == "layer"]
    assert set(layers["kind"]) == {"finc", "cinc", "emerging raster"}
    names = ["inverse_s", "inverse_eager_s", "forward_s", "fresh_s", "torch_forward_s"]
    assert (layers[names] > 0).all(axis=None)
    assert (layers["solver"] == "compiled").all()
    assert layers.loc[layers["kind"] == "finc", "diagonal_channel_s"].notna().all()
    assert layers.loc[layers["kind"] == "emerging raster", "diagonal_channel_s"].isna().all()
    assert (layers["1x1_conv2d_s"] > 0).all()
    assert not [name for name in rows if set(" -") & set(name)]
    models = rows[rows["part"] == "model"].set_index("kind")
    assert (models[["ft_s", "st_s", "graph_ft_s", "graph_st_s"]] > 0).all(axis=None)
    assert models.loc["finc", "convolutions_s"] > 0
    assert pd.isna(models.loc["glow", "convolutions_s"])


def test_without_what_a_page_needs_the_rows_are_written(measured):
    folder, printed = measured
    assert "no page was made: " in printed.splitlines()[-1]
    assert not (folder / "results" / "gpu.md").exists()


def test_the_command_runs_on_a_bare_machine(tmp_path):
    done = python(COMMAND, "--out", tmp_path, "--only", "machine")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "machine: ok" in done.stdout


def test_its_rows_can_be_handed_in(rows):
    check_rows(rows, {"gpu": TABLE})


def test_the_page_is_a_function_of_the_rows(measured, rows, tmp_path, capsys):
    folder, _ = measured
    text = TABLE.write_page(rows, tmp_path).read_text()
    assert "emerging raster" in text and "convolutions' share of ST" in text
    assert gpu_session.session(folder, 0, "cpu", tiny=True, only="finc-c4-n6-b2") == 1
    assert (folder / "results" / "gpu.md").read_text() == text
    assert "the page is " in capsys.readouterr().out
    (folder / "results" / "gpu.md").unlink()


def test_no_rows(tmp_path):
    page = TABLE.page(read_table(tmp_path / "none.csv")).markdown()
    assert "missing: no rows yet" in page and "Rows: `data/gpu.csv`" in page


def test_a_session_that_reached_the_machine_alone(rows):
    page = TABLE.page(rows[rows["part"] == "machine"].dropna(axis=1)).markdown()
    assert "A copy on the device moves" in page and "|" not in page


def test_ratios_by_hand(rows):
    rows = rows[rows["part"] == "layer"].head(1).copy()
    names = ["inverse_s", "inverse_q25_s", "inverse_q75_s"]
    rows[names] = 1e-5
    rows[["diagonal_channel_4_s", "torch_forward_s", "inverse_bytes_per_s"]] = [2e-3, 2e-5, 4e12]
    page = TABLE.page(rows).markdown()
    line = next(line for line in page.splitlines() if "10.0 [10.0, 10.0]" in line)
    cells = [cell.strip() for cell in line.split("|")]
    assert "0.50" in cells and "4,000" in cells


def test_a_failed_cell_is_shown(rows):
    rows["reason"] = rows["reason"].astype(object)
    rows.loc[rows["part"] != "machine", ["status", "reason"]] = ["incorrect", "it is wrong"]
    page = TABLE.page(rows).markdown()
    assert page.count("incorrect: it is wrong") == (rows["part"] != "machine").sum()


def test_a_wrong_inverse_has_no_time(monkeypatch):
    original = layer_timing.solve_triangular_conv2d

    def wrong(*arguments, **options):
        return original(*arguments, **options) * 1.01

    monkeypatch.setattr(layer_timing, "solve_triangular_conv2d", wrong)
    with pytest.raises(Incorrect, match="round-trip error"):
        gpu_session.measure_layer(CPU, "finc", 4, 5, 1, 1)


def test_the_time_is_kept(tmp_path, capsys):
    assert gpu_session.session(tmp_path, 0, "cpu", tiny=True) == 1
    assert "not started, the time is up" in capsys.readouterr().out
    assert "missing: no rows yet" in (tmp_path / "results" / "gpu.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_without_a_gpu_it_says_so(tmp_path, capsys):
    assert gpu_session.session(tmp_path) == 2
    assert "torch finds no CUDA device" in capsys.readouterr().err


def test_cells_of_a_gpu_are_distinct():
    names = [cell.label for cell in gpu_session.cells(torch.device("cuda"), tiny=False)]
    assert len(names) == len(set(names)) > 40
    assert {"finc-c48-n32-b100", "finc-c12-n512-b1", "finc-c48-n32-b100-tf32"} < set(names)


def test_without_nvrtc_the_resources_are_refused_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(nvrtc, "missing", lambda: "NVRTC was not found: pip install it")
    assert cuda_resources.write(tmp_path) == 2
    assert capsys.readouterr() == ("", "NVRTC was not found: pip install it\n")
    assert not list(tmp_path.iterdir())


def test_what_the_assembler_says_is_read():
    log = """ptxas info    : Function properties for solve
ptxas         .     96 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 159 registers, used 1 barriers, 96 bytes cumulative stack size"""
    assert list(parse(log)) == [("solve", 159, 20, 96)]


def used(**changes):
    size = (12, 3, 1, 4, "registers", "before", 159, 20, 96, "67", 56064)
    return Used("sm_90", "solve", "float32", "FInC", *size)._replace(**changes)


def test_the_page_of_resources_says_the_most_of_each_chip(tmp_path, monkeypatch):
    kernels = [used(), used(shared=60000, registers=99), used(element="float64", spilled=0)]
    monkeypatch.setattr(cuda_resources, "measure", lambda chip: kernels)
    monkeypatch.setattr(nvrtc, "missing", lambda: "")
    monkeypatch.setattr(nvrtc, "version", lambda: (13, 0))
    assert cuda_resources.write(tmp_path, ["sm_90"]) == 1  # a float32 kernel spills
    text = (tmp_path / "cuda_resources.md").read_text()
    assert "2 of 3 compiled kernels spill" in text and "NVRTC 13.0" in text
    (line,) = [line.split() for line in text.splitlines() if "float32" in line]
    assert line[1:-1:2] == ["sm_90", "float32", "2", "2", "159", "60,000", "96"]
    stored = pd.read_csv(tmp_path / "data" / "cuda_resources.csv", dtype={"nvrtc": str})
    assert stored["folded"].tolist() == ["before"] * 3
    assert cuda_resources.page(stored).markdown() == text
    monkeypatch.setattr(cuda_resources, "measure", lambda chip: kernels[2:])
    assert cuda_resources.write(tmp_path, ["sm_90"]) == 0


def test_the_committed_page_of_resources_fits_on_a_screen():
    stored = pd.read_csv(ROOT / "results" / "data" / "cuda_resources.csv", dtype={"nvrtc": str})
    text = (ROOT / "results" / "cuda_resources.md").read_text()
    assert cuda_resources.page(stored).markdown() == text
    assert len(text.splitlines()) <= 40
    assert set(stored["chip"]) == set(CHIPS)
