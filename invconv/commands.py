"""What the commands of `python -m invconv` do; each returns its exit code."""

import argparse
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch

from invconv.conv import available, layer_class
from invconv.data import DATASETS, fetch
from invconv.files import brief
from invconv.rows import RowsError, add, collect, provenance, read_rows, read_table, table_of
from invconv.rows.provenance import ROOT
from invconv.solvers import FORWARD_METHODS, METHODS
from invconv.solvers.compiled import instruction_sets

if TYPE_CHECKING:
    from invconv.tables.table import Table

PACKAGES = (
    "torch",
    "cuda-bindings",
    "hydra-core",
    "submitit",
    "pandas",
    "matplotlib",
    "scikit-learn",
    "datasets",
)


def tables() -> "dict[str, Table]":
    """Every table; they need Hydra and what draws a page, which `bench gpu` does without."""
    from invconv.tables.table import tables

    return tables()


def _frames(results: Path) -> dict[str, pd.DataFrame]:
    """The rows of every table."""
    return {name: read_table(results / "data" / f"{name}.csv") for name in tables()}


def doctor(options: argparse.Namespace) -> int:
    """Prints what this machine has; 1 if something that is required is missing."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name, value in provenance(device).items():
        print(f"{name:8} {value}")
    for package in PACKAGES:
        print(f"{package:14} {_version(package)}")
    print("instruction sets", ", ".join(instruction_sets()) or "none")
    present = set()
    tables = {"solve_triangular_conv2d": METHODS, "triangular_conv2d": FORWARD_METHODS}
    for title, methods in tables.items():
        print(f"methods of {title}:")
        for name, method in methods.items():
            reason = method.missing(device)
            if not reason:
                present.add(name)
            print(f"  {name:17} {f'MISSING: {reason}' if reason else method.summary}")
    wanted = [name for name in options.require if name not in present]
    for name in wanted:
        print(f"required method {name!r} is not available", file=sys.stderr)
    return 1 if wanted else 0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "MISSING"


def show(options: argparse.Namespace) -> int:
    """Prints the cells of a sweep, or the layers, methods, data sets and tables."""
    if options.sweeps:
        print(*(name for name, table in tables().items() if table.presets))
        return 0
    if options.runs is not None:
        return _list_cells(options.runs, options.overrides)
    print("layers:")
    for name in available():
        print(f"  {name:8} {(layer_class(name).__doc__ or '').splitlines()[0]}")
    print("solver methods:", ", ".join(METHODS))
    print("data sets:", ", ".join(DATASETS))
    print("tables:")
    for name, table in tables().items():
        minutes = table.presets["default"].minutes if table.presets else 0
        print(f"  {name:9} {table.title}{f', about {minutes:g} min' if minutes else ''}")
    return 0


def _list_cells(runs: Path, overrides: list[str]) -> int:
    """The cells of the sweep that was started last, or of one with ``overrides``."""
    from invconv.sweeps import states

    grid = states.read_grid(runs)
    if grid["cells"] and not overrides:
        return states.print_states(runs, grid["cells"])
    table = grid["table"] or runs.resolve().name
    script = ROOT / "reproductions" / f"{table}.py"
    if not script.exists():
        known = ", ".join(sorted(path.stem for path in script.parent.glob("*.py")))
        print(f"{runs}: {table!r} is no table, which are: {known or 'none'}", file=sys.stderr)
        return 2
    command = [sys.executable, str(script), "-m", *overrides, f"runs={runs}", "launch=list"]
    with tempfile.TemporaryDirectory() as scratch:  # Hydra's own notes of the sweep
        return subprocess.run([*command, f"hydra.sweep.dir={scratch}"]).returncode


def collect_rows(options: argparse.Namespace) -> int:
    """Merges the rows below a folder and writes their pages."""
    if not options.runs.is_dir():
        print(f"there is no folder {options.runs}", file=sys.stderr)
        return 1
    found = {row.table for row in read_rows(options.runs)}
    unknown = found - set(tables())
    if unknown:
        print(f"no page for rows of {', '.join(sorted(unknown))}", file=sys.stderr)
    for name, table in tables().items():
        if found and name not in found:
            continue
        data = options.results / "data" / f"{name}.csv"
        frame = collect(options.runs, data, name, table.write_page)
        print(f"{name}: {len(frame)} rows, {options.results / name}.md")
    return 1 if unknown else 0


def report(options: argparse.Namespace) -> int:
    """Writes the pages, the explorer, or the page of benchmarks."""
    from invconv.report.document import FORMATS
    from invconv.tables import others
    from invconv.tables.readme import write_readme

    if options.from_benchmark is not None:
        return _from_benchmark(options)
    if options.html:
        return _explorer(options)
    frames = _frames(options.results)
    formats = [*FORMATS, *[".pdf"] * options.pdf]
    documents = {name: table.page(frames[name]) for name, table in tables().items()}
    documents["published"] = others.page()
    for name, document in documents.items():
        path = document.write(options.results, formats)
        print(f"{name}: {len(frames.get(name, []))} rows, {path}")
        if options.map:
            options.map.mkdir(parents=True, exist_ok=True)
            document.map().to_csv(options.map / f"{name}.csv", index=False)
        if options.latex:
            options.latex.mkdir(parents=True, exist_ok=True)
            for number, text in enumerate(document.latex(), 1):
                (options.latex / f"{name}-{number}.tex").write_text(text, encoding="utf-8")
    if options.readme:
        try:
            write_readme(frames, Path("README.md"))
        except (OSError, ValueError) as error:
            print(f"README.md of this repository is not here: {error}", file=sys.stderr)
            return 1
    return 0


def _explorer(options: argparse.Namespace) -> int:
    from invconv.report.explorer import LibraryMissing, write_explorer

    frames = _frames(options.results)
    try:
        path = write_explorer(tables().values(), frames, options.out, options.runs)
    except LibraryMissing as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{path}: {sum(map(len, frames.values()))} rows, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def _from_benchmark(options: argparse.Namespace) -> int:
    from invconv.tables.benchmark import TABLE, rows_from_benchmarks

    rows, others = rows_from_benchmarks(options.from_benchmark)
    add(
        lambda: table_of(rows),
        options.results / "data" / f"{TABLE.name}.csv",
        TABLE.write_page,
    )
    page = options.results / f"{TABLE.name}.md"
    print(f"{TABLE.name}: {len(rows)} rows added, {others} others left out, {page}")
    return 0


def import_file(options: argparse.Namespace) -> int:
    """Adds rows that somebody else measured."""
    from invconv.tables.importing import import_rows

    try:
        table, frame = import_rows(options.rows, options.label, options.results)
    except RowsError as error:
        print(f"{options.rows}: {error}", file=sys.stderr)
        return 1
    print(f"{table}: {len(frame)} rows, {options.results / table}.md")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Prints the test bits per dimension of checkpoints."""
    from invconv import assessments
    from invconv.training import CheckpointError
    from invconv.training.evaluation import assess

    arguments = (options.split, options.samples, options.batch_size, options.seed, options.device)
    try:
        torch.zeros((), device=options.device)
    except (RuntimeError, AssertionError) as error:
        print(f"{options.device!r} is no device here: {brief(error)}", file=sys.stderr)
        return 1
    try:
        found = [assess(path, *arguments, options.root) for path in options.checkpoints]
    except (CheckpointError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    print(assessments.text(found))
    return 0


def bench_gpu(options: argparse.Namespace) -> int:
    """Measures every method on a GPU."""
    from invconv.tables.gpu_session import session

    chosen = (options.device, options.tiny, options.only, options.force)
    return session(options.out, options.seconds, *chosen)


def bench_cuda_resources(options: argparse.Namespace) -> int:
    """Writes what the CUDA kernels take of a chip."""
    from invconv.tables.cuda_resources import write

    return write(options.results)


def fetch_data(options: argparse.Namespace) -> int:
    """Downloads a data set."""
    try:
        print(fetch(options.name, options.root, options.version))
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
