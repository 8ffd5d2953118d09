"""The GPU session and its page, tried on a CPU with tiny shapes."""

import os
import subprocess
import sys

import pandas as pd
import pytest
import torch

from invconv.bench import clock, layer_timing
from invconv.rows import Incorrect, read_samples, read_table, samples_path
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
    names = ["inverse", "forward", "fresh", "inverse_eager", "inverse_hot", "forward_hot"]
    names = [f"{name}_s" for name in (*names, "torch_forward", "inverse_again")]
    assert (layers[names] > 0).all(axis=None)
    ratios = [f"{above}_vs_{below}" for above, below in gpu_session.DIVIDED]
    assert (layers[[*ratios, "aa_inverse"]] > 0).all(axis=None)
    assert (layers["solver"] == "compiled").all()
    assert layers.loc[layers["kind"] == "finc", "diagonal_channel_s"].notna().all()
    assert layers.loc[layers["kind"] == "emerging raster", "diagonal_channel_s"].isna().all()
    assert (layers["1x1_conv2d_s"] > 0).all()
    assert not [name for name in rows if set(" -") & set(name)]
    models = rows[rows["part"] == "model"].set_index("kind")
    names = ["ft", "ft_cold", "st", "train_step", "graph_ft", "graph_st", "graph_ft_again"]
    assert (models[[f"{name}_s" for name in names]] > 0).all(axis=None)
    assert (models[["st_vs_ft", "graph_st_vs_graph_ft", "aa_graph_ft"]] > 0).all(axis=None)
    assert (models[["round_trip_error", "log_det_error"]] < 1e-3).all(axis=None)
    alone = ["convolutions_s", "convolutions_vs_graph_st", "st_published_s"]
    assert (models.loc["finc", alone].astype(float) > 0).all()
    assert models.loc["glow", alone].isna().all()


def test_every_time_can_be_computed_from_the_samples(measured, rows):
    samples = read_samples(samples_path(measured[0] / "results" / "data" / "gpu.csv"))
    timed = rows[rows["part"] != "machine"].set_index("cell")
    assert set(samples["cell"]) == set(timed.index)
    for cell, found in samples.groupby("cell"):
        medians = found.groupby("call")["seconds"].median()
        assert {"inverse_hot", "forward_hot"} < {*medians.index} or "graph_ft" in medians
        for call, median in medians.items():
            assert timed.loc[cell, f"{call}_s"] == pytest.approx(median, rel=1e-4), call


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
    assert "emerging raster" in text and "convolutions ÷ ST, graph" in text
    assert gpu_session.session(folder, 0, "cpu", tiny=True, only="finc-c4-n6-b2") == 1
    assert (folder / "results" / "gpu.md").read_text() == text
    assert "the page is " in capsys.readouterr().out
    (folder / "results" / "gpu.md").unlink()


def test_no_rows(tmp_path):
    page = TABLE.page(read_table(tmp_path / "none.csv")).markdown()
    assert "Not yet measured: " in page


def test_a_session_that_reached_the_machine_alone(rows):
    page = TABLE.page(rows[rows["part"] == "machine"].dropna(axis=1)).markdown()
    assert "A copy on the device moves" in page and "|" not in page


def test_ratios_by_hand(rows):
    rows = rows[rows["part"] == "layer"].head(1).copy()
    rows[["inverse_s", "inverse_q25_s", "inverse_q75_s"]] = [1e-5, 0.9e-5, 1.2e-5]
    rows[["diagonal_channel_4_s", "torch_forward_s"]] = [2e-3, 2e-5]
    rows["inverse_bytes_per_s"] = 4e12
    ends = ["", "_low", "_high"]
    rows[[f"inverse_vs_torch_forward{end}" for end in ends]] = [0.5, 0.4712, 0.5288]
    rows[[f"aa_inverse{end}" for end in ends]] = [1.0, 0.9875, 1.0125]
    page = TABLE.page(rows).markdown()
    line = next(line for line in page.splitlines() if "10.0 [9.00, 12.0]" in line)
    head = next(line for line in page.splitlines() if "inverse ÷ torch forward" in line)
    cells = dict(zip(*([x.strip() for x in one.split("|")] for one in (head, line)), strict=True))
    assert cells["inverse ÷ torch forward"] == "0.50 [0.47, 0.53]"
    assert cells["inverse ÷ itself"] == "1.00 [0.99, 1.01]"
    assert cells["torch forward"].startswith("20.0 (")
    assert (cells["algorithm 2"], cells["GB/s"]) == ("2,000", "4,000")


def test_hot_calls_are_charged_one_of_the_calls_in_their_graph(monkeypatch):
    """A second for each replay: forty calls, where the graph is a hot one."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)  # so that this process times
    monkeypatch.setattr(clock, "cpu_clock", lambda call: call() is None or 1.0)
    values = gpu_session.measure_layer(CPU, "finc", 4, 5, 1, 6).values
    for name in ("inverse", "forward"):
        assert values[f"{name}_s"] == values[f"{name}_eager_s"] == 1.0
        assert values[f"{name}_hot_s"] == values[f"{name}_hot_q75_s"] == 1 / 40
    assert values["inverse_hot_vs_forward_hot"] == values["inverse_vs_forward"] == 1.0
    assert values["inverse_bytes_per_s"] == 2 * 4 * 4 * 5 * 5
    assert values["inverse_flop_per_s"] == 2 * 4 * 5 * 5 * 9
    assert values["rounds"] == 6


def test_what_a_graph_replays_is_prepared_as_a_plain_forward(monkeypatch):
    """Graphs are made and replayed in eval mode, by our inverse, whatever was timed before."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    seen, current = {}, []
    original = gpu_session.time_calls

    def watched(calls, device, settings, *, few, before):
        def prepared(name):
            before(name)
            flow = calls["train_step"].__self__.flow
            method = flow.levels[0][1].inverse_method
            seen.setdefault(name, set()).add((flow.training, method))
            current.append(name)

        return original(calls, device, settings, few=few, before=prepared)

    monkeypatch.setattr(gpu_session, "time_calls", watched)
    block = gpu_session.time_model(CPU, "finc", 2, tiny=True)
    assert seen.pop("train_step") == seen.pop("ft_cold") == {(True, "auto")}
    assert seen.pop("st_published") == {(False, "published")}
    assert set(seen) == {
        *("ft", "st", "graph_ft", "graph_st", "graph_ft_again", "convolutions"),
    }
    assert set.union(*seen.values()) == {(False, "auto")}
    assert set(block.samples["call"]) == set(current)


@pytest.mark.slow
def test_a_wait_policy_does_not_matter(tmp_path):
    """The session measures where training would run passively, too."""
    code = COMMAND.replace(
        "import sys", "import os, sys\nos.environ['OMP_WAIT_POLICY'] = 'PASSIVE'", 1
    )
    done = python(code, "--out", tmp_path, "--only", "finc-c4-n6-b2")
    assert "finc-c4-n6-b2: ok" in done.stdout, done.stdout + done.stderr


def test_a_failed_cell_is_shown(rows):
    rows["reason"] = rows["reason"].astype(object)
    rows.loc[rows["part"] != "machine", ["status", "reason"]] = ["incorrect", "it is wrong"]
    page = TABLE.page(rows).markdown()
    assert page.count("incorrect: it is wrong") == (rows["part"] != "machine").sum()


def test_a_noisy_cell_has_a_page_without_its_ratios(rows):
    rows = rows.copy()  # which is not fragmented
    rows["reason"] = rows["reason"].astype(object)
    of_cinc = rows["kind"] == "cinc"
    rows.loc[of_cinc, ["status", "reason"]] = ["noisy", "others computed"]
    rows[[f"inverse_vs_torch_forward{end}" for end in ("_low", "_high")]] = [0.25, 4.0]
    page = TABLE.page(rows).markdown()
    assert page.count("noisy: others computed") == 1
    (line,) = [line for line in page.splitlines() if line.startswith("| cinc ")]
    assert "noisy" in line and "[0.25, 4.00]" not in line
    assert page.count("[0.25, 4.00]") == (rows["part"] == "layer").sum() - 1


def test_a_wrong_inverse_has_no_time(monkeypatch):
    original = layer_timing.solve_triangular_conv2d

    def wrong(*arguments, **options):
        return original(*arguments, **options) * 1.01

    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(gpu_session, "time_calls", lambda *a, **k: pytest.fail("timed"))
    monkeypatch.setattr(layer_timing, "solve_triangular_conv2d", wrong)
    with pytest.raises(Incorrect, match="round-trip error"):
        gpu_session.measure_layer(CPU, "finc", 4, 5, 1, 1)


def test_the_time_is_kept(tmp_path, capsys):
    assert gpu_session.session(tmp_path, 0, "cpu", tiny=True) == 1
    assert "not started, the time is up" in capsys.readouterr().out
    assert "Not yet measured: " in (tmp_path / "results" / "gpu.md").read_text()


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
