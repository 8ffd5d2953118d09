"""What somebody adds to a copy of the package: a table, a layer, a data set, and nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import explorer_rows
import pytest
from pages import titled

from invconv.rows import read_table
from invconv.rows.provenance import ROOT
from invconv.solvers.compiled import extension

ISOLATED = """
import sys
# the finder of the editable installation comes before PYTHONPATH: this copy shall be imported
sys.meta_path[:] = [f for f in sys.meta_path if "ScikitBuild" not in type(f).__name__]
"""

FILES = titled(ROOT / "docs" / "add-a-table.md")
"""Those that the page says how to write, by their paths."""

LAYER = '''
"""One factor per channel."""

import torch
from torch import nn

from invconv.conv import About, InvertibleConv{import_}


{register}class {name}(InvertibleConv):
    """One factor per channel."""

    about = About("{title}", "Nobody, 2026", 2026, color="#123456", marker="<")

    def __init__(self, channels):
        super().__init__(channels)
        self.log_scale = nn.Parameter(torch.full((channels, 1, 1), 0.1))

    def forward(self, x):
        self.check_input(x)
        log_det = x.shape[2] * x.shape[3] * self.log_scale.sum()
        return x * self.log_scale.exp(), log_det.repeat(x.shape[0])

    def _inverse(self, z):
        return z * (-self.log_scale).exp()
'''


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the package with all that a newcomer adds, and how commands run in it."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("invconv", "hydra_plugins", "reproductions"):
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    if extension() is not None:
        compiled = Path(extension().__file__)
        shutil.copy(compiled, folder / "invconv" / "solvers" / compiled.name)
    (folder / "sitecustomize.py").write_text(ISOLATED)
    package = folder / "invconv"
    write = {
        **{folder / path: text for path, text in FILES.items()},
        package / "layers" / "scale.py": LAYER.format(
            import_=", register", register='@register("scale")\n', name="Scale", title="Scaling"
        ),
        folder / "theirs.py": LAYER.format(
            import_="", register="", name="Theirs", title="Their's"
        ),
        folder / "theirs-1.0.dist-info" / "METADATA": "Name: theirs\nVersion: 1.0\n",
        folder / "theirs-1.0.dist-info" / "entry_points.txt": (
            "[invconv.layers]\ntheirs = theirs:Theirs\n"
        ),
    }
    for path, text in write.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.lstrip())
    with (package / "layers" / "__init__.py").open("a") as file:
        file.write("from invconv.layers.scale import Scale as Scale\n")
    with (package / "data" / "__init__.py").open("a") as file:
        file.write("from invconv.data import coins as coins\n")

    def run(*command):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "INVCONV_COMMIT": "0123456789"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return folder, run


@pytest.mark.slow
def test_a_table_a_layer_and_a_data_set_are_first_class_at_once(copy):
    folder, run = copy
    assert "2 of 2 cells ok" in run("reproductions/toy.py", "-m")
    methods = "method=scale,theirs"
    sweep = ("preset=tiny", methods, "dataset=coins", "progress=false", "results=results")
    assert "3 of 3 cells ok" in run("reproductions/table2.py", "-m", *sweep)  # two and the times

    rows = read_table(folder / "results" / "data" / "toy.csv")
    assert set(rows["method"]) == {"glow", "scale"}
    page = (folder / "results" / "toy.md").read_text()
    assert page.startswith("# How far does a layer move its input?\n\nRows of")
    assert re.search(r"\| Scaling +\| +0\.105 \|", page)
    page = (folder / "results" / "table2.md").read_text()
    assert re.search(r"\| coins 8×8 +\| Scaling ", page)
    assert re.search(r"\| coins 8×8 +\| Their's ", page)
    times = page.partition("<summary>coins 8×8, 10 images")[2].partition("## Bits")[0]
    assert re.search(r"\| Scaling +\| +\d", times) and re.search(r"\| Their's +\| +\d", times)

    run("-m", "invconv", "report", "--html", "--latex", "tex", "--map", "map")
    run("-m", "invconv", "report", "--latex", "tex", "--map", "map")
    shown = {
        table["name"]: table
        for table in explorer_rows.read(folder / "runs" / "explorer.html")["tables"]
    }
    assert shown["toy"]["title"] == "How far a layer moves its input"
    colors = {
        series["name"]: series["color"]
        for figure in shown["table2"]["figures"]
        for series in figure["series"]
    }
    assert colors["Scaling"] == colors["Their's"] == "#123456"
    tex = (folder / "tex" / "toy-1.tex").read_text()
    assert "Scaling & 0.105 \\\\" in tex
    assert "\\toprule" in tex
    assert "Their" in (folder / "tex" / "table2-1.tex").read_text()

    frame = json.loads(
        run(
            "-c",
            "import invconv; rows = invconv.results('toy').set_index('method')\n"
            "print(rows['moved'].to_json())",
        )
    )
    assert frame["scale"] == pytest.approx(0.1052, abs=1e-3)
    listed = run("-m", "invconv", "list")
    assert "How far a layer moves its input" in listed
    assert "coins" in listed


def test_rows_of_what_was_added_are_taken_by_import(copy):
    folder, run = copy
    run("reproductions/toy.py", "-m", "method=scale", "channels=5", "results=other")
    run("-m", "invconv", "import", "other/data/toy.csv", "--label", "a friend")
    rows = read_table(folder / "results" / "data" / "toy.csv")
    assert any(name.startswith("a friend: ") for name in rows["machine"])
