"""The house rules that a machine can check."""

import ast
import re

import pytest

import invconv.integrations
import invconv.testing
from invconv.__main__ import main
from invconv.rows.provenance import ROOT
from invconv.solvers import compiled

ORDER = ["kernels", "solvers", "layers", "flows", "data", "training", "rows", "bench", "sweeps"]
ORDER += ["report", "tables"]
ROOM = {"validation": -2, "numerical": -2, "cache": -2, "files": -2, "conv": -1}
ROOM |= {name: i for i, name in enumerate(ORDER)}
ROOM["pictures"] = ROOM["training"]
ROOM |= {"testing": ROOM["solvers"], "integrations": ROOM["solvers"]}  # they know no layer
FILES = sorted((ROOT / "invconv").rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("invconv."):
            yield node.module.split(".")[1]


def test_imports_run_one_way():
    for path in FILES:
        parts = path.relative_to(ROOT / "invconv").with_suffix("").parts
        if parts[0] == "__init__" or parts[-1] == "__main__":  # a command stands above the rooms
            continue
        for room in imports(path):
            assert ROOM[room] <= ROOM[parts[0]], f"{path} imports invconv.{room}"


def test_files_are_rooms():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 260, f"{path} is too long"


@pytest.mark.parametrize("module", [invconv, invconv.testing, invconv.integrations])
def test_what_a_user_calls_has_an_example_that_runs(module):
    """Their docstrings are doctests."""
    for name in module.__all__:
        thing = getattr(module, name)
        if callable(thing):
            assert ">>> " in thing.__doc__, name


def test_doctor_fails_where_something_required_is_missing(capsys, monkeypatch):
    assert main(["doctor", "--require", "compiled", "wavefront", "torch"]) == 0
    assert "instruction sets" in capsys.readouterr().out
    monkeypatch.setattr(compiled, "_kernels", None)
    monkeypatch.setattr(compiled, "_reason", "no compiler")
    assert main(["doctor"]) == 0
    assert "compiled          MISSING: no compiler" in capsys.readouterr().out
    assert main(["doctor", "--require", "compiled"]) == 1
    assert "'compiled' is not available" in capsys.readouterr().err
    assert main(["doctor", "--require", "magic"]) == 1


@pytest.mark.parametrize("command", ["doctor", "list"])
def test_commands(command, capsys):
    assert main([command]) == 0
    printed = capsys.readouterr().out
    assert re.search("wavefront", printed)
    assert re.search("torch|finc", printed)


def test_collect_and_report_write_the_page(tmp_path, capsys):
    runs, results = str(tmp_path / "runs"), str(tmp_path / "results")
    (tmp_path / "runs").mkdir()
    assert main(["collect", runs, "--results", results]) == 0
    page = (tmp_path / "results" / "table2.md").read_text()
    assert main(["report", "--results", results]) == 0
    assert (tmp_path / "results" / "table2.md").read_text() == page
    assert "table2: 0 rows" in capsys.readouterr().out
