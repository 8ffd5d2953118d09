"""The page of what the tests tried is made of their reports alone."""

import base64
import csv
import json
from xml.etree import ElementTree

import pandas as pd
import pytest
import trust

from invconv.rows import read_table, table_of
from invconv.rows.provenance import ROOT
from invconv.tables.trust import TABLE

FILES = [path for path in (ROOT / "tests").rglob("test_*.py") if path.parent.name != "benchmarks"]
STATISTICS = "  - during generate phase (0.1 seconds):\n    - 50 passing, 0 failing, and 3 invalid"


def report(folder, cases):
    """A JUnit report as pytest writes it: name → outcome, and what its properties say."""
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(root, "testsuite", time="90.5")
    known = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(known, "property", name="commit", value="0123456789")
    drawn = "hypothesis-statistics-tests/solvers/test_random_problems.py::test_all"
    text = base64.b64encode(STATISTICS.encode()).decode()
    ElementTree.SubElement(known, "property", name=drawn, value=text)
    for name, (outcome, count) in cases.items():
        place, _, test = name.partition("::")
        place = place.removesuffix(".py").replace("/", ".")
        case = ElementTree.SubElement(suite, "testcase", classname=place, name=test, time="1.5")
        if count:
            own = ElementTree.SubElement(case, "properties")
            ElementTree.SubElement(own, "property", name="cases", value=str(count))
        if outcome != "passed":
            ElementTree.SubElement(case, outcome, message="why")
    folder.mkdir(exist_ok=True)
    ElementTree.ElementTree(root).write(folder / "full.xml")
    files = {
        f"invconv/layers/{name}.py": {
            "summary": {
                "num_statements": 10,
                "covered_lines": 9,
                "num_branches": 4,
                "covered_branches": 2,
            }
        }
        for name in "ab"
    }
    (folder / "coverage.json").write_text(json.dumps({"files": files}))
    return trust.rows_of(folder)


def guards():
    with (ROOT / "tests" / "findings.csv").open() as file:
        return [line["guard"] for line in csv.DictReader(file)]


def test_cases_outcomes_and_coverage(tmp_path):
    cases = {
        "tests/solvers/test_random_problems.py::test_all": ("passed", None),
        "tests/contract/test_conformance.py::test_contract[finc]": ("passed", 46),
        "tests/flows/test_flows.py::test_it": ("failure", None),
        "tests/sweeps/test_slurm.py::test_it": ("skipped", None),
        "invconv/layers/finc.py::invconv.layers.finc.FInC": ("passed", None),
        **{f"tests/packaging/test_house.py::{name}": ("passed", None) for name in guards()[1:]},
    }
    rows = report(tmp_path, cases)
    found = {(row.labels["part"], row.labels["name"]): row.values for row in rows}
    assert found["cases", "solvers against the reference"]["cases"] == 50
    assert found["cases", "layers: the contract, by the conformance kit"]["cases"] == 46
    assert found["cases", "flows and likelihood"]["failed"] == 1
    assert found["cases", "sweeps, locks and clusters"]["cases"] == 0
    assert found["cases", "examples in docstrings"]["passed"] == 1
    assert found["run", "full"]["suite_s"] == 90.5
    layers = found["coverage", "invconv/layers"]
    assert (layers["lines"], layers["covered_branches"]) == (20, 4)
    failed = [row for row in rows if row.status != "ok"]
    assert [row.labels["guard"] for row in failed] == guards()[:1]
    found = table_of(rows)
    text = TABLE.page(found).markdown()
    assert "90.0%" in text and "50.0%" in text and "0123456789" in text
    assert f"found {len(guards())} (" in text and f": {len(guards()) - 1} of these" in text
    assert "- `finding-01`: error: its guard did not pass" in text
    older = found.assign(date="2000-01-01T00:00:00Z", passed=123456)
    both = pd.concat([found, older, older.assign(machine="another")])
    text = TABLE.page(both).markdown()
    brief = text.partition("## How")[0]
    assert brief.count("123,456") == 1  # of the newest run on each machine
    assert f"found {len(guards())} (" in text


def test_the_page_is_one_screen():
    rows = read_table(ROOT / "results" / "data" / "trust.csv")
    assert rows["machine"].nunique() > 1
    assert len(TABLE.page(rows).markdown().splitlines()) <= 45


def test_a_test_of_no_kind_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no pattern of KINDS is in tests/test_news"):
        report(tmp_path, {"tests/test_news.py::test_it": ("passed", None)})


def test_every_file_of_tests_has_a_kind():
    for path in FILES:
        assert trust.kind(f"{path.relative_to(ROOT).as_posix()}::test_it")


def test_every_guard_exists():
    text = "".join(path.read_text() for path in FILES)
    for guard in guards():
        assert f"def {guard.partition('[')[0]}(" in text
