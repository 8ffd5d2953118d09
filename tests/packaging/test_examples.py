"""Every example in the documentation runs, and shows what it says."""

import json
import runpy
import sys
import types

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from invconv import conv, flows
from invconv.rows.provenance import ROOT

EXAMPLES = ROOT / "docs" / "examples"
pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.(triangular_solve|lu) is deprecated:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the compiler
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Examples run in another folder; what they register and draw is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conv, "_REGISTRY", dict(conv._REGISTRY))
    monkeypatch.setattr(sys, "argv", ["example"])
    plt.switch_backend("agg")
    torch.manual_seed(5)
    yield
    plt.close("all")


def run(name):
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_the_list_of_examples_is_complete():
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    index = (EXAMPLES / "index.md").read_text(encoding="utf-8")
    assert names == {name for name in names if f"]({name})" in index}
    assert len(names) == 5


def test_a_layer_in_ten_lines(capsys, monkeypatch):
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)  # where pickle looks for the class
    path = EXAMPLES / "layer_in_ten_lines.py"
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    assert capsys.readouterr().out == "Householder keeps the contract.\n"


def test_own_images(tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(60):  # gradients of two colors
        ends = rng.integers(256, size=(2, 3))
        picture = np.linspace(ends[0], ends[1], 20).astype(np.uint8)
        Image.fromarray(np.tile(picture, (24, 1, 1))).save(pictures / f"{number}.png")
    monkeypatch.setattr(sys, "argv", ["own_images.py", str(pictures), "out"])
    run("own_images.py")
    printed = capsys.readouterr().out
    assert "6 test images, " in printed
    assert 0 < float(printed.partition("6 test images, ")[2].split()[0]) < 8
    with Image.open(tmp_path / "out" / "samples.png") as picture:
        assert picture.size[0] > 100
    flow = flows.load(tmp_path / "out" / "flow.pt")
    assert flow.shape == (3, 16, 16)
    module = runpy.run_path(str(EXAMPLES / "own_images.py"))
    (tmp_path / "more").mkdir()
    assert len(list(module["write_photographs"](tmp_path / "more").glob("*.png"))) > 400


def test_the_solver_alone(capsys):
    run("solver_alone.py")
    lines = capsys.readouterr().out.splitlines()
    for line in lines[:3]:
        name, _, error = line.partition(": ")
        assert name in ("round trip", "wavefront", "compiled")
        assert float(error) < 1e-12
    words = lines[3].split()
    assert words[:3] == ["mean", "squared", "error:"]
    assert float(words[6]) < 0.01 * float(words[3])


def test_zuko_and_nflows(capsys):
    run("zuko_and_nflows.py")
    lines = capsys.readouterr().out.splitlines()
    assert len({line.rpartition(" ")[2] for line in lines[:3]}) == 1
    assert lines[3] == "gradients for 5 parameters"
    assert lines[4].endswith("(2, 12, 8, 8)") and lines[5].endswith("(2, 12, 8, 8)")


def code_of(notebook):
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [("".join(cell["source"]), cell) for cell in cells]


def test_the_notebook_runs(tmp_path, capsys, monkeypatch):
    notebook = json.loads((EXAMPLES / "layer_to_plot.ipynb").read_text(encoding="utf-8"))
    module = types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", module)
    for number, (code, cell) in enumerate(code_of(notebook), 1):
        exec(compile(code, f"cell {number}", "exec"), module.__dict__)
        assert cell["execution_count"] == number, "run it from top to bottom and save it"
        assert cell["outputs"], f"cell {number} is stored without what it shows"
        assert {one["output_type"] for one in cell["outputs"]} <= {
            "stream",
            "display_data",
            "execute_result",
        }
    printed = capsys.readouterr().out
    assert "'passed'" in printed and "'failed'" not in printed
    assert "bits per dimension on 250 test images" in printed
    table = module.table.set_index("method")
    assert table.loc["householder", "free"] == 12
    assert {"glow", "finc", "macow"} <= set(table.index)
    assert len(module.axes.lines) == len(table)
    assert len(plt.get_fignums()) == 2


def test_the_notebook_shows_a_picture_of_samples_and_a_plot():
    notebook = json.loads((EXAMPLES / "layer_to_plot.ipynb").read_text(encoding="utf-8"))
    shown = [
        one["data"]["image/png"]
        for _, cell in code_of(notebook)
        for one in cell["outputs"]
        if "image/png" in one.get("data", {})
    ]
    assert len(shown) == 2
    assert sum(map(len, shown)) < 300_000
