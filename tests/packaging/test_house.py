"""The house rules that a machine can check."""

import ast
import re

import pytest

import invconv.integrations
import invconv.testing
from invconv.__main__ import main
from invconv.rows import Row, Status, write_row
from invconv.rows.provenance import ROOT
from invconv.solvers import compiled

BASE = {"validation", "numerical", "modes", "files", "about", "seeds"}
BASE |= {"cores", "style", "terminal"}
MODELS = BASE | {
    "kernels",
    "solvers",
    "cache",
    "bijection",
    "adapted",
    "conv",
    "layers",
    "methods",
    "flows",
}
MAY_KNOW = dict.fromkeys(BASE, BASE) | {
    "kernels": BASE,
    "solvers": BASE | {"kernels"},
    "cache": BASE | {"solvers"},
    "bijection": BASE | {"cache"},
    "adapted": BASE | {"bijection"},
    "conv": BASE | {"bijection"},
    "testing": BASE | {"conv", "solvers"},  # of layers they know the contract alone
    "integrations": BASE | {"adapted", "conv", "solvers", "cache"},
    "layers": BASE | {"conv", "solvers", "cache"},
    "methods": BASE | {"conv"},
    "flows": MODELS,
    "data": BASE | {"flows"},
    "training": MODELS | {"data"},
    "pictures": MODELS | {"data"},
    "rows": BASE | {"solvers"},
    "bench": MODELS | {"data", "training", "rows"},
    "sweeps": MODELS | {"data", "training", "rows", "bench"},  # the clock, and who else computes
    "report": MODELS | {"data", "rows"},
    "curves": MODELS | {"data", "rows", "report"},
    "evaluations": MODELS | {"training", "report"},
    "tables": MODELS | {"data", "training", "pictures", "curves", "rows", "bench", "sweeps"},
}
MAY_KNOW["tables"] |= {"report"}
MAY_KNOW["assessing"] = MODELS | {"testing", "rows", "bench", "report"}
MAY_KNOW["__init__"] = MODELS | {"tables", "assessing"}
MAY_KNOW["commands"] = MAY_KNOW["tables"] | {"tables", "assessing", "evaluations"}
MAY_KNOW |= dict.fromkeys(
    ("listing", "forgetting", "doctor", "contributions"), MAY_KNOW["commands"]
)
MAY_KNOW["__main__"] = MAY_KNOW["commands"] | {"commands", "contributions"}
MAY_KNOW["__main__"] |= {"listing", "forgetting", "doctor"}
MAY_KNOW["reproductions"] = MAY_KNOW["hydra_plugins"] = {"sweeps", "tables", "terminal"}
"""Which rooms a room may import besides itself; the command line stands above all."""
FILES = sorted((ROOT / "invconv").rglob("*.py"))
OTHERS = [*(ROOT / "reproductions").glob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")]


def room(path):
    """The room of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "invconv" else parts[0]


def imports(path):
    """The rooms that a file imports, wherever in it; public names of the package are none."""
    rooms = set(MAY_KNOW)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield "a relative import"
        elif isinstance(node, ast.ImportFrom) and node.module == "invconv":
            yield from rooms & {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("invconv."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from (name[1] for name in names if name[0] == "invconv" and len(name) > 1)


@pytest.mark.parametrize("path", [*FILES, *OTHERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    here = room(path)
    wrong = set(imports(path)) - MAY_KNOW[here] - {here}
    assert not wrong, f"invconv.{here} may not know {', '.join(sorted(wrong))}"


def test_sweeps_use_hydras_public_interface():
    sources = {path: path.read_text(encoding="utf-8") for path in [*FILES, *OTHERS]}
    for path, text in sources.items():
        assert not re.search(r"hydra\._|\brunpy\b|_get_header_dict|sys\.argv *=", text), path


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
    assert re.search("compiled +MISSING: no compiler", capsys.readouterr().out)
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
    source = {"machine": "m", "commit": "1", "date": "2026-01-01T00:00:00Z", "dirty": False}
    source |= {"device": "cpu", "threads": 1, "torch": "2", "python": "3"}
    one = Row("oom", "table2", Status.OOM, "large", {"dataset": "mnist"}, {}, {}, source)
    write_row(one, tmp_path / "runs" / "oom" / "row.json")
    assert main(["collect", runs, "--results", results]) == 0
    page = (tmp_path / "results" / "table2.md").read_text()
    assert main(["report", "--results", results]) == 0
    assert (tmp_path / "results" / "table2.md").read_text() == page
    printed = capsys.readouterr().out
    assert "table2: 1 rows" in printed and "table1: 0 rows" in printed
