"""What `python -m invconv list` prints: what there is to measure, or the cells of a sweep."""

import argparse
import ast
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from invconv.rows.provenance import ROOT
from invconv.terminal import aligned

if TYPE_CHECKING:
    from invconv.conv import InvertibleConv


def show(options: argparse.Namespace) -> int:
    """Print the cells below a folder, or the layers, methods, data sets and tables."""
    from invconv.tables.outline import outlines

    if options.sweeps:
        print(*(table.name for table in outlines() if table.presets))
        return 0
    if options.runs is not None:
        return _list_cells(options.runs, options.overrides)
    from invconv.conv import GROUP, registered
    from invconv.data import DATASETS
    from invconv.solvers import METHODS

    layers = {name: _origin(layer) for name, layer in sorted(registered().items())}
    for entry in entry_points(group=GROUP):
        layers.setdefault(entry.name, ("", _of_source(entry)))
    tables = outlines()
    _print("layers", [(name, *words) for name, words in layers.items()])
    _print("solver methods", [(name, method.summary) for name, method in METHODS.items()])
    _print("data sets", [(name, data.title) for name, data in DATASETS.items()])
    _print("tables", [(table.name, table.title) for table in tables])
    timed = [table for table in tables if table.presets]
    _print(
        "presets of tables, and about how long each takes",
        [(table.name, _presets(table.presets)) for table in timed],
    )
    print("Measure a table: python reproductions/NAME.py -m preset=PRESET")
    print(
        f"{len(layers)} layers, {len(METHODS)} solver methods, {len(DATASETS)} data sets, "
        f"{len(tables)} tables"
    )
    return 0


def _print(title: str, lines: Sequence[Sequence[str]]) -> None:
    print(aligned(lines, f"{title}:"), end="\n\n")


def _presets(minutes: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {m:g} min" if m else name for name, m in minutes.items())


def _origin(layer: "type[InvertibleConv]") -> tuple[str, str]:
    """The year and the paper of a layer, or what its docstring says."""
    about = layer.about
    return (str(about.year), about.paper) if about else ("", _sentence(layer.__doc__))


def _sentence(doc: str | None) -> str:
    """The first sentence of a docstring, in one line."""
    first = " ".join((doc or "").split("\n\n")[0].split())
    return first.partition(". ")[0].removesuffix(".")


def _of_source(entry: EntryPoint) -> str:
    """The same of a layer of an installed package, whose module is read and not imported."""
    with suppress(Exception):  # what a package holds may be anything
        spec = find_spec(entry.module)
        assert spec is not None and spec.origin is not None
        for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == entry.attr:
                return _sentence(ast.get_docstring(node)) or entry.value
    return entry.value


def _list_cells(runs: Path, overrides: list[str]) -> int:
    """The cells below a folder, or those of a sweep that was not started."""
    from invconv.sweeps import states

    cells = states.cells_below(runs)
    if cells and not overrides:
        return states.print_states(runs, cells)
    table = states.read_grid(runs)["table"] or runs.resolve().name
    script = ROOT / "reproductions" / f"{table}.py"
    if not script.exists():
        known = ", ".join(sorted(path.stem for path in script.parent.glob("*.py")))
        print(f"{runs}: {table!r} is no table, which are: {known or 'none'}", file=sys.stderr)
        return 2
    command = [sys.executable, str(script), "-m", *overrides, f"runs={runs}", "launch=list"]
    with tempfile.TemporaryDirectory() as scratch:  # Hydra's own notes of the sweep
        return subprocess.run([*command, f"hydra.sweep.dir={scratch}"]).returncode
