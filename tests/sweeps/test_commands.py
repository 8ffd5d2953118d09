"""The command line: how fast it starts, what it lists, and what it says where there is nothing."""

import json
import math
import os
import re
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

import invconv
from invconv import conv, doctor
from invconv.__main__ import main
from invconv.data import DATASETS
from invconv.rows import Row, Status, read_table, write_row
from invconv.rows.provenance import ROOT
from invconv.solvers import METHODS
from invconv.tables.outline import outlines
from invconv.tables.table import tables
from invconv.terminal import aligned

SOURCE = {"machine": "m", "commit": "0012345678", "date": "2026-01-01T00:00:00Z"}


def least_cpu_seconds(commands, enough, tries=10):
    """Of each of several commands, run in turns until that is ``enough``; what they print is lost.

    Other work on the machine makes a command take longer, and never shorter.
    """
    least = [math.inf] * len(commands)
    for _ in range(tries):
        for i, arguments in enumerate(commands):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *arguments], capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            least[i] = min(least[i], used)
        if enough(*least):
            break
    return least


@pytest.mark.parametrize("word", ["--help", "--version", "lsit"])
def test_help_the_version_and_a_misspelled_command_come_at_once(word):
    command = ["-m", "invconv", word]
    assert least_cpu_seconds([command], lambda seconds: seconds <= 0.2)[0] <= 0.2


@pytest.fixture
def cells(tmp_path):
    """A folder with a cell that is done and one that was only wanted."""
    write_row(Row("a", "table1", Status.OK, provenance=SOURCE), tmp_path / "t" / "a" / "row.json")
    grid = {"table": "table1", "cells": ["a", "b"], "jobs": {}}
    (tmp_path / "t" / "grid.json").write_text(json.dumps(grid), encoding="utf-8")
    return tmp_path


def test_listing_cells_needs_neither_torch_nor_pandas(cells):
    code = f"import sys; from invconv.__main__ import main; main(['list', {str(cells)!r}]); "
    code += "print({'torch', 'pandas', 'numpy', 'hydra'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout + done.stderr
    command = ["-m", "invconv", "list", str(cells)]
    assert least_cpu_seconds([command], lambda seconds: seconds <= 0.5)[0] <= 0.5


def test_list_and_doctor_cost_little_more_than_torch():
    def is_little(torch, *ours):
        return max(ours) <= 1.15 * torch

    commands = [["-c", "import torch"], *(["-m", "invconv", name] for name in ("list", "doctor"))]
    assert is_little(*least_cpu_seconds(commands, is_little))


def test_the_package_says_its_version(capsys):
    assert invconv.__version__ == version("invconv")
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert (end.value.code, capsys.readouterr().out) == (0, f"invconv {invconv.__version__}\n")
    assert not hasattr(invconv, "nothing")


def test_rooms_are_there_without_their_own_import():
    code = "import invconv; print(invconv.data.load('digits', 'test').shape, invconv.layers.FInC)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.startswith("(1, 8, 8)"), done.stderr


def test_list_has_papers_layers_of_packages_and_presets_in_columns(capsys, monkeypatch):
    monkeypatch.delitem(conv._REGISTRY, "nflows_1x1", raising=False)  # another test may load it
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    text = " ".join(printed.split())
    assert 'finc 2023 Kallappa, Nagar and Varma, "FInC Flow' in text
    assert "nflows_1x1 nflows' `OneByOneConvolution`" in text
    assert re.search(r"\n  table2 +default \d+ min, full \d+ min, tiny 1 min, paper\n", printed)
    verdict = printed.splitlines()[-1]
    assert verdict.endswith(
        f"{len(METHODS)} solver methods, {len(DATASETS)} data sets, {len(tables())} tables"
    )
    assert "reproductions/NAME.py" in printed.splitlines()[-2]


def test_doctor_is_in_columns_and_ends_with_a_verdict(capsys, monkeypatch):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    assert re.search(
        r"ready: on (the CPU|a GPU), with(out)? compiled kernels", printed.splitlines()[-1]
    )
    begins = [line[:22] for line in printed.split("methods of")[1].splitlines()[1:] if line]
    assert {line[20:22] for line in begins} == {"  "}
    monkeypatch.setattr(doctor, "version", lambda name: missing(name))
    assert main(["doctor", "--require", "magic"]) == 1
    printed = capsys.readouterr().out
    assert "MISSING: pip install 'invconv[explorer]'" in printed
    assert "not installed: torch, hydra-core" in printed
    assert printed.splitlines()[-1] == "not ready: magic missing"


def test_make_help_has_every_target_and_as_many_minutes_as_the_presets():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True)
    lines = dict(re.findall(r"^make ([\w-]+) +(.+)$", done.stdout, re.MULTILINE))
    declared = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(lines) == set(declared[1].split())
    assert max(map(len, done.stdout.splitlines())) <= 100
    minutes = {name: int(text.split()[1][:-1]) for name, text in lines.items() if "about" in text}
    for target, preset in (("results", "default"), ("tiny", "tiny")):
        presets = [t.presets[preset].minutes or 0.2 for t in tables().values() if t.presets]
        assert minutes[target] == pytest.approx(sum(presets), rel=0.2)


def missing(name):
    raise PackageNotFoundError(name)


def test_a_narrow_terminal_wraps_the_last_column(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = [("name", "a text that does not fit into one line of it"), ("longer-name", "short")]
    assert aligned(lines) == (
        "  name         a text that does not fit\n"
        "               into one line of it\n"
        "  longer-name  short"
    )


def test_what_is_read_of_tables_is_what_they_are():
    known = tables()
    assert [one.name for one in outlines()] == list(known)
    for one in outlines():
        table = known[one.name]
        minutes = {name: preset.minutes for name, preset in table.presets.items()}
        assert (one.title, one.order, dict(one.presets)) == (table.title, table.order, minutes)


def test_a_layer_of_a_broken_package_is_listed_by_its_place(capsys, monkeypatch):
    from importlib.metadata import EntryPoint

    from invconv import listing

    broken = EntryPoint("broken", "no_such_package.layer:Layer", "invconv.layers")
    monkeypatch.setattr(listing, "entry_points", lambda group: [broken])
    assert main(["list"]) == 0
    assert "no_such_package.layer:Layer" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["report"], ["report", "--html"], ["collect", "runs"]])
def test_where_nothing_was_measured_nothing_is_written(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "has a row" in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["runs"]


@pytest.mark.parametrize("name", tables())
def test_a_table_without_rows_gets_a_page_of_one_sentence(name):
    text = tables()[name].page(read_table(ROOT / "nowhere.csv")).markdown()
    title, sentence = text.strip().split("\n\n")
    assert title == f"# {tables()[name].question or tables()[name].title}"
    assert sentence.startswith("Not yet measured: `") and sentence.endswith("` measures it.")


def test_a_misspelled_data_set_of_fetch(capsys):
    assert main(["fetch", "cifar11"]) == 1
    assert capsys.readouterr().err.endswith("; did you mean cifar10?\n")


def test_make_says_what_it_installs():
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", "setup"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "MAKEFLAGS": ""},
    ).stdout
    assert "GB" in shown.partition("pip install")[0]
