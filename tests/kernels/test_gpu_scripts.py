"""The scripts for a GPU machine, as far as they run without one."""

import ast
import importlib
import json
import re
import shlex
import subprocess
import sys

import pytest
import torch

from invconv.rows.provenance import ROOT
from invconv.solvers.cuda.forward import plan_convolve
from invconv.solvers.cuda.inverse import plan_solve
from invconv.solvers.cuda.plan import Chip, SizedProblem
from invconv.tables import gpu_session

FOLDER = ROOT / "kernels" / "gpu"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
TEXTS = {path.name: path.read_text() for path in SCRIPTS}
INLINE = [
    pytest.param(code, id=f"{name}-{number}")
    for name, text in TEXTS.items()
    for number, code in enumerate(
        re.findall(r"<<'PY'\n(.*?)\nPY\n", text, re.DOTALL)
        + re.findall(r'python3 -c "(.*?)"', text)
    )
]
SPECIALIZATIONS = """
import json, sys
sys.path.insert(0, sys.argv[1])
import precompile
print(json.dumps(precompile.specializations()))
"""


def run(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_shell_can_read_them(path):
    run("bash", "-n", path)


def test_there_are_inline_programs():
    assert len(SCRIPTS) == 3
    assert len(INLINE) >= 6


@pytest.mark.parametrize("code", INLINE)
def test_what_inline_programs_import_exists(code):
    tree = ast.parse(code)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
                names[alias.name] = getattr(module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.name] = importlib.import_module(alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = names.get(node.value.id)
            assert owner is None or hasattr(owner, node.attr), ast.unparse(node)


def test_the_files_that_they_name_exist():
    named = re.findall(r"\b(?:tests|kernels|invconv)/[\w/]+\.(?:py|sh)\b", "".join(TEXTS.values()))
    assert {"tests/kernels/test_cuda.py", "kernels/gpu/hot.py"} <= set(named)
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.skipif(torch.cuda.is_available(), reason="it would measure")
def test_the_command_of_the_benchmark_is_known():
    (line,) = re.findall(r"python3 (-m invconv bench gpu .*?) 2>&1", TEXTS["run_b.sh"])
    done = subprocess.run(
        [sys.executable, *shlex.split(line)], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 2
    assert done.stderr.startswith("torch finds no CUDA device"), done.stderr


def test_hot_times_run_on_a_cpu(tmp_path):
    run(sys.executable, FOLDER / "hot.py", tmp_path / "hot.json", "--cpu")
    rows = json.loads((tmp_path / "hot.json").read_text())
    assert {row["kind"] for row in rows} == {"finc", "cinc"}
    for row in rows:
        for name in ("inverse", "forward", "torch_grouped", "pointwise", "eager_host"):
            assert isinstance(row[name], float), row[name]


@pytest.mark.slow
def test_every_layer_of_the_benchmark_is_compiled_before():
    """Neither the benchmark nor the tests wait for NVRTC on the GPU machine."""
    text = run(sys.executable, "-c", SPECIALIZATIONS, FOLDER)
    found = {(source, tuple(map(tuple, options))) for source, options in json.loads(text)}
    assert {source for source, _ in found} >= {"wavefront", "diagonal_channel"}
    chip = Chip(90, 132, 232_448, 233_472)
    layers = [
        cell.labels
        for cell in gpu_session.cells(torch.device("cuda"), tiny=False)
        if cell.labels["part"] == "layer"
    ]
    assert len(layers) > 40
    for labels in layers:
        groups = 4 if labels["kind"] == "finc" else 1
        anchor = 1 if labels["kind"] == "emerging raster" else 2
        channels, n = labels["channels"] // groups, labels["n"]
        places = ((3, 3), (anchor, anchor))
        shape = SizedProblem(labels["batch"], groups, channels, n, n, *places, 0, False)
        for plan in (plan_solve(shape, chip), plan_convolve(shape, chip)):
            assert (plan.source, plan.options) in found, labels
