#!/usr/bin/env python3
"""What a run of all tests tried and covered, as rows and a page: results/trust.md.

    make test-full      runs the tests under coverage, and then this

Reads FOLDER/full.xml, FOLDER/quick.xml where there is one (pytest's JUnit reports),
FOLDER/coverage.json and tests/findings.csv.
"""

import argparse
import base64
import csv
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import torch

from invconv.rows import Row, Status, add, table_of
from invconv.rows.provenance import ROOT, provenance
from invconv.tables.trust import RUN, TABLE

KINDS = {
    "sanitizers": r"sanitiz",
    "layers: the contract, by the conformance kit": r"test_conformance\.py",
    "broken layers that the kit has to catch": r"test_conformance_kit",
    "other libraries": r"test_integrations",
    "damaged, wrong and hostile checkpoints": r"test_fuzz_checkpoints",
    "damaged, wrong and hostile rows and settings": r"test_fuzz_rows",
    "damaged and hostile image files": r"test_fuzz_data",
    "layers: error amplification, and what is not finite": r"test_numerical",
    "a layer of anyone's, assessed and submitted": r"test_(assess|submission)\.",
    "layers: lives of training, saving, copying, sampling": r"^tests/contract/",
    "layers: definitions, options, the authors' numbers": r"^tests/layers/",
    "solvers against the reference": r"^tests/solvers/",
    "CUDA text, compiled and emulated": r"^tests/kernels/",
    "flows and likelihood": r"^tests/flows/",
    "data": r"^tests/data/",
    "training and evaluation": r"^tests/training/",
    "sweeps, locks and clusters": r"^tests/sweeps/",
    "measuring": r"^tests/(bench|tables)/",
    "pages and the explorer": r"^tests/(report|rows)/",
    "packaging, documentation and house rules": r"^tests/packaging/",
    "examples in docstrings": r"^invconv/",
}
"""What is tested → the tests, by the first pattern that their name contains."""


def main() -> int:
    """Writes the rows and the page; 1 if a test failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "runs" / "trust")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    options = parser.parse_args()
    rows = rows_of(options.folder)
    add(lambda: table_of(rows), options.results / "data" / "trust.csv", TABLE.write_page)
    print(f"{len(rows)} rows, {options.results / 'trust.md'}")
    return 1 if any(row.values.get("failed") or row.status != Status.OK for row in rows) else 0


def rows_of(folder):
    """The rows that a folder's reports make."""
    source = provenance(torch.device("cpu"))
    suites = {
        name: suite(folder / f"{name}.xml")
        for name in (RUN, "quick")
        if (folder / f"{name}.xml").exists()
    }
    rows = []

    def row(part, name, values, status=Status.OK, reason="", **labels):
        label = f"{part}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"
        labels = {"part": part, "name": name, **labels}
        rows.append(Row(label, TABLE.name, status, reason, labels, labels, values, source))

    for name, (tests, facts) in suites.items():
        row("run", name, {**counted(tests), **facts})
    tests = suites[RUN][0]
    kinds = defaultdict(list)
    for test in tests:
        kinds[kind(test["name"])].append(test)
    for name in KINDS:
        row("cases", name, {"tests": len(kinds[name]), **counted(kinds[name])})
    for room, values in coverage(folder / "coverage.json").items():
        row("coverage", room, values)
    with (ROOT / "tests" / "findings.csv").open() as file:
        for number, finding in enumerate(csv.DictReader(file), 1):
            guards = [test for test in tests if finding["guard"] in test["name"]]
            passed = bool(guards) and all(test["outcome"] == "passed" for test in guards)
            status = (Status.OK,) if passed else (Status.ERROR, "its guard did not pass")
            row("finding", f"{number:02}", {}, *status, **finding)
    return rows


def suite(path):
    """Each test of a JUnit report, and what the run as a whole has to say."""
    root = ElementTree.parse(path).getroot().find("testsuite")
    known = {entry.get("name"): entry.get("value") for entry in root.iterfind("properties/*")}
    drawn = {}
    for name, value in known.items():
        if name.startswith("hypothesis-statistics-"):
            said = base64.b64decode(value).decode()
            test = name.removeprefix("hypothesis-statistics-")
            drawn[test] = sum(map(int, re.findall(r"(\d+) passing", said)))
    tests = []
    for case in root.iterfind("testcase"):
        name = f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}"
        own = [int(entry.get("value")) for entry in case.iterfind("properties/*[@name='cases']")]
        failed = case.find("failure") is not None or case.find("error") is not None
        skipped = case.find("skipped") is not None
        tests.append(
            {
                "name": name,
                "cases": sum(own) if own else drawn.get(name, 1),
                "outcome": "failed" if failed else "skipped" if skipped else "passed",
                "seconds": float(case.get("time")),
            }
        )
    return tests, {"suite_s": float(root.get("time")), "tested_commit": known["commit"]}


def counted(tests):
    """How many of some tests passed, and in how many cases and seconds."""
    outcomes = [test["outcome"] for test in tests]
    return {
        **{name: outcomes.count(name) for name in ("passed", "failed", "skipped")},
        "cases": sum(test["cases"] for test in tests if test["outcome"] != "skipped"),
        "suite_s": sum(test["seconds"] for test in tests),
    }


def kind(name):
    """What a test is about, one of `KINDS`."""
    for found, pattern in KINDS.items():
        if re.search(pattern, name):
            return found
    raise SystemExit(f"tests/trust.py: no pattern of KINDS is in {name}")


def coverage(path):
    """Lines and branches of each room, all of them and those that ran."""
    rooms = defaultdict(lambda: defaultdict(int))
    for name, file in json.loads(path.read_text())["files"].items():
        parts = Path(name).parts
        if parts[0] != "invconv":  # installed elsewhere by a test
            continue
        room = "/".join(parts[:2]) if len(parts) > 2 else parts[0]
        facts = file["summary"]
        rooms[room]["lines"] += facts["num_statements"]
        rooms[room]["covered_lines"] += facts["covered_lines"]
        rooms[room]["branches"] += facts["num_branches"]
        rooms[room]["covered_branches"] += facts["covered_branches"]
    return {room: dict(facts) for room, facts in sorted(rooms.items())}


if __name__ == "__main__":
    sys.exit(main())
