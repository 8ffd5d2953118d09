"""The accuracy sweep and its page."""

import math

import pytest
import torch

from invconv.rows import read_table
from invconv.rows.provenance import ROOT
from invconv.sweeps.config import ChosenMethod
from invconv.tables import accuracy
from invconv.tables.accuracy import POINTS, TABLE, Accuracy


def test_a_small_sweep(reproduce, tmp_path):
    done = reproduce("accuracy.py", "preset=tiny", "points=[n8,n32,k2,s0.8]")
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "runs" / "tiny" / "results"
    frame = read_table(results / "data" / "accuracy.csv").set_index("method")
    assert (frame["n8_float64_residual"] < 1e-12).all()
    assert (frame["n8_float32_sample"] < 1e-5).all()
    assert 1e-4 < frame.loc["finc", "n8_bfloat16_residual"] < 0.1
    assert frame.loc["finc", "s0.8_growth"] > 100 * frame.loc["finc", "n32_growth"]
    page = " ".join((results / "accuracy.md").read_text().split())
    assert "method | k = 2 | k = 3 |" in page
    assert "| Glow | – | – |" in page
    assert "The residual exceeds 1e-03 for FInC at s0.8" in page
    assert len(list((results / "figures").glob("accuracy-*-c4.png"))) == 1


def test_a_cell_has_the_name_that_it_had():
    """Rows that were measured before stay those of their settings."""
    rows = read_table(ROOT / "results" / "data" / "accuracy.csv")
    method = ChosenMethod("finc", "finc", "common", {"kernel_size": 3})
    assert TABLE.cell_of(Accuracy(method=method, points=POINTS)) in set(rows["cell"])


def test_points():
    assert accuracy.place("n64") == (64, 3, 0.0)
    assert accuracy.place("k5") == (32, 5, 0.0)
    assert accuracy.place("s0.1") == (32, 3, 0.1)
    for wrong in ("", "n", "x3", "n2.5", "k-1", "snan"):
        with pytest.raises(ValueError, match="points must be n, k or s"):
            accuracy.place(wrong)


def test_no_rows():
    page = TABLE.page(read_table(ROOT / "nowhere.csv")).markdown()
    assert "Not yet measured: " in page


def test_what_a_dtype_refuses_is_noted_and_memory_that_runs_out_is_not(monkeypatch):
    config = Accuracy(method=ChosenMethod("glow", "glow"), channels=4, batch=2)

    def measured(error):
        def losses(layer, x):
            if x.dtype == torch.bfloat16:
                raise error
            return {"round_trip": 0.0, "residual": 0.0}

        monkeypatch.setattr(accuracy, "losses", losses)
        return accuracy.measure_point(config, "n4", torch.device("cpu"))

    for error, reason in (
        (RuntimeError(), "RuntimeError"),
        (TypeError("no bfloat16\nat all"), "no bfloat16"),
    ):
        values = measured(error)
        assert values["bfloat16_reason"] == reason
        assert "float32_reason" not in values and values["float32_residual"] == 0
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ):
        with pytest.raises(RuntimeError, match="memory"):
            measured(error)


@pytest.mark.parametrize("name", ["snf", "mintnet"])
def test_a_layer_that_refuses_to_invert_has_no_finite_error(name):
    method = ChosenMethod(name, name, "common", {"kernel_size": 3})
    config = Accuracy(method=method, channels=4, batch=2)
    found = accuracy.measure_point(config, "n4", torch.device("cpu"))
    assert found["float32_residual"] < 1e-5
    lost = accuracy.measure_point(config, "s2", torch.device("cpu"))
    assert lost["growth"] == lost["float64_residual"] == lost["bfloat16_sample"] == math.inf
