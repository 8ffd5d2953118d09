"""The GPU session's command and its page, tried on a CPU with tiny shapes."""

import os
import subprocess
import sys

import pandas as pd
import pytest
import torch

from invconv.bench import gpu
from invconv.bench.__main__ import main
from invconv.bench.cuda_resources import Used, parse
from invconv.report.cuda_resources import page as resources_page
from invconv.report.gpu import page, write_page
from invconv.rows import Incorrect, collect, read_table
from invconv.solvers.cuda import nvrtc
from invconv.tables.contributed import check_rows

WITHOUT_HYDRA = """
import sys
for name in ("hydra", "omegaconf", "submitit"):
    sys.modules[name] = None
from invconv.bench.__main__ import main
sys.exit(main(["gpu", "--out", sys.argv[1], "--device", "cpu", "--tiny"]))
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A tiny session, in a process where Hydra and submitit cannot be imported."""
    folder = tmp_path_factory.mktemp("session")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_HYDRA, str(folder)],
        capture_output=True,
        text=True,
        timeout=500,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_cell_has_an_ok_row(session):
    frame = read_table(session / "results" / "data" / "gpu.csv")
    assert (frame["status"] == "ok").all()
    layers = frame[frame["part"] == "layer"]
    assert set(layers["kind"]) == {"finc", "cinc", "emerging raster"}
    assert (layers[["inverse_s", "forward_s", "torch_forward_s"]] > 0).all(axis=None)
    assert (layers["solver"] == "compiled").all()
    assert layers.loc[layers["kind"] == "finc", "diagonal_channel_s"].notna().all()
    assert layers.loc[layers["kind"] == "emerging raster", "diagonal_channel_s"].isna().all()
    models = frame[frame["part"] == "model"].set_index("kind")
    assert (models[["ft_s", "st_s", "graph_ft_s", "graph_st_s"]] > 0).all(axis=None)
    assert models.loc["finc", "convolutions_s"] > 0
    assert pd.isna(models.loc["glow", "convolutions_s"])


def test_its_rows_can_be_handed_in(session):
    check_rows(read_table(session / "results" / "data" / "gpu.csv"), ("gpu",))


def test_the_page_is_a_function_of_the_rows(session, tmp_path):
    collect(session / "gpu", tmp_path / "gpu.csv")
    text = write_page(read_table(tmp_path / "gpu.csv"), tmp_path).read_text()
    assert text == (session / "results" / "gpu.md").read_text()
    assert "emerging raster" in text and "convolutions' share of ST" in text


def test_no_rows(tmp_path):
    assert "missing: no rows yet" in page(read_table(tmp_path / "none.csv"))


def test_ratios_by_hand(session):
    frame = read_table(session / "results" / "data" / "gpu.csv")
    frame = frame[frame["part"] == "layer"].head(1).copy()
    names = ["inverse_s", "inverse_q25_s", "inverse_q75_s"]
    frame[names] = 1e-5
    frame[["diagonal_channel_4_s", "torch_forward_s", "inverse_bytes_per_s"]] = [2e-3, 2e-5, 4e12]
    line = next(line for line in page(frame).splitlines() if "10.0 [10.0, 10.0]" in line)
    cells = [cell.strip() for cell in line.split("|")]
    assert "0.50" in cells and "4,000" in cells


def test_a_failed_cell_is_shown(session):
    frame = read_table(session / "results" / "data" / "gpu.csv")
    frame["reason"] = frame["reason"].astype(object)
    frame.loc[frame["part"] != "machine", ["status", "reason"]] = ["incorrect", "it is wrong"]
    assert page(frame).count("incorrect: it is wrong") == (frame["part"] != "machine").sum()


def test_a_wrong_inverse_has_no_time(monkeypatch):
    original = gpu.solve_triangular_conv2d
    monkeypatch.setattr(gpu, "solve_triangular_conv2d", lambda *a, **k: original(*a, **k) * 1.01)
    with pytest.raises(Incorrect, match="round-trip error"):
        gpu.time_layer(torch.device("cpu"), "finc", 4, 5, 1, 1)


def test_the_time_is_kept(tmp_path, capsys):
    options = ["gpu", "--out", str(tmp_path), "--device", "cpu", "--tiny", "--seconds", "0"]
    assert main(options) == 1
    assert "not started, the time is up" in capsys.readouterr().out
    assert "missing: no rows yet" in (tmp_path / "results" / "gpu.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_without_a_gpu_it_says_so(tmp_path, capsys):
    assert main(["gpu", "--out", str(tmp_path)]) == 2
    assert "torch finds no CUDA device" in capsys.readouterr().err


def test_without_nvrtc_the_resources_are_refused_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(nvrtc, "missing", lambda: "NVRTC was not found: pip install it")
    assert main(["cuda_resources", "--results", str(tmp_path)]) == 2
    assert capsys.readouterr() == ("", "NVRTC was not found: pip install it\n")
    assert not list(tmp_path.iterdir())


def test_cells_of_a_gpu_are_distinct():
    names = [cell.label for cell in gpu.cells(torch.device("cuda"), tiny=False)]
    assert len(names) == len(set(names)) > 40
    assert {"finc-c48-n32-b100", "finc-c12-n512-b1", "finc-c48-n32-b100-tf32", "racecheck"} < set(
        names
    )


def test_what_the_assembler_says_is_read():
    log = """ptxas info    : Function properties for solve
ptxas         .     96 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 159 registers, used 1 barriers, 96 bytes cumulative stack size"""
    assert list(parse(log)) == [("solve", 159, 20, 96)]
    options = (("OUTPUTS", 1), ("ROWS", 4), ("TAPS_IN", 0))
    used = Used("FInC", "solve", "float32", 12, 3, "67", "sm_90", options, 159, 20, 96, 56064)
    text = resources_page([used, used._replace(shared=60000)], (13, 0))
    assert "2 of 2 compiled kernels spill" in text
    assert text.count("sm_90") == 1 and "60000" in text
