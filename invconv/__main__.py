"""python -m invconv doctor | list | collect | report | evaluate | fetch | import."""

import argparse
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch

from invconv.conv import available, layer_class
from invconv.data import DATASETS, SPLITS, fetch
from invconv.files import brief
from invconv.report import PAGES, assessments, neighbours
from invconv.report.explorer import LibraryMissing, write_explorer
from invconv.report.readme import write_readme
from invconv.report.style import formats
from invconv.rows import add, collect, provenance, read_rows, read_table, table_of
from invconv.rows.row import RowsError
from invconv.solvers import FORWARD_METHODS, METHODS
from invconv.solvers.compiled import instruction_sets
from invconv.tables.contributed import import_rows
from invconv.tables.pytest_rows import TABLE, rows_from_benchmarks
from invconv.training import CheckpointError
from invconv.training.evaluation import assess

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


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = argparse.ArgumentParser(prog="invconv", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="what this machine has, and what is missing")
    doctor.add_argument(
        "--require", nargs="+", default=[], metavar="METHOD", help="fail if one is not available"
    )
    listing = commands.add_parser(
        "list", help="the cells of a sweep; without a folder the layers, methods, data and tables"
    )
    listing.add_argument("runs", type=Path, nargs="?", help="the sweep's folder: runs/table2")
    listing.add_argument(
        "overrides", nargs="*", help="of a sweep that was not started; by default the last one's"
    )
    collecting = commands.add_parser(
        "collect", help="merge the rows below a folder into results/data/ and write the pages"
    )
    collecting.add_argument("runs", type=Path, nargs="?", default=Path("runs"))
    collecting.add_argument("--results", type=Path, default=Path("results"))
    reporting = commands.add_parser("report", help="write the pages again from results/data/")
    reporting.add_argument("--results", type=Path, default=Path("results"))
    reporting.add_argument("--readme", action="store_true", help="update README.md, too")
    reporting.add_argument("--pdf", action="store_true", help="figures as PDF, too")
    reporting.add_argument(
        "--html", action="store_true", help="write one page with every row instead, to explore"
    )
    reporting.add_argument(
        "--from-benchmark",
        type=Path,
        metavar="FILE",
        help="add what pytest --benchmark-only --benchmark-json=FILE timed, and write its page",
    )
    reporting.add_argument(
        "--out", type=Path, default=Path("runs/explorer.html"), help="the file of --html"
    )
    reporting.add_argument(
        "--runs", type=Path, default=Path("runs"), help="where --html finds the cells' pictures"
    )
    contributed = commands.add_parser("import", help="add rows that somebody else measured")
    contributed.add_argument("rows", type=Path, metavar="ROWS.csv")
    contributed.add_argument("--label", required=True, help="who measured them")
    contributed.add_argument("--results", type=Path, default=Path("results"))
    evaluate = commands.add_parser("evaluate", help="test bits per dimension of checkpoints")
    evaluate.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    evaluate.add_argument("--split", default="test", choices=SPLITS)
    evaluate.add_argument("--samples", type=int, default=1, help="draws of noise per image")
    evaluate.add_argument("--batch-size", type=int, default=250)
    evaluate.add_argument("--seed", type=int, default=0, help="of the noise")
    evaluate.add_argument("--device", default="cpu")
    evaluate.add_argument("--root", type=Path, help="where the data are")
    get = commands.add_parser("fetch", help="download a data set from the Hugging Face hub")
    get.add_argument("name", choices=DATASETS)
    get.add_argument("--root", type=Path, help="the folder to put it below")
    get.add_argument("--version", type=int, help="of ImageNet")
    options = parser.parse_args(arguments)
    actions = {
        "doctor": _doctor,
        "list": _list,
        "collect": _collect,
        "report": _report,
        "evaluate": _evaluate,
        "import": _import,
        "fetch": _fetch,
    }
    try:
        return actions[options.command](options)
    except RowsError as error:
        print(error, file=sys.stderr)
        return 1


def _doctor(options: argparse.Namespace) -> int:
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


def _list(options: argparse.Namespace) -> int:
    if options.runs is not None:
        from invconv.sweeps.listing import list_cells

        return list_cells(options.runs, options.overrides)
    print("layers:")
    for name in available():
        print(f"  {name:8} {(layer_class(name).__doc__ or '').splitlines()[0]}")
    print("solver methods:", ", ".join(METHODS))
    print("data sets:", ", ".join(DATASETS))
    print("tables:", ", ".join(PAGES))
    return 0


def _collect(options: argparse.Namespace) -> int:
    if not options.runs.is_dir():
        print(f"there is no folder {options.runs}", file=sys.stderr)
        return 1
    found = {row.table for row in read_rows(options.runs)}
    unknown = found - set(PAGES)
    if unknown:
        print(f"no page for rows of {', '.join(sorted(unknown))}", file=sys.stderr)
    for table, write_page in PAGES.items():
        if found and table not in found:
            continue
        data = options.results / "data" / f"{table}.csv"
        frame = collect(options.runs, data, table, write_page)
        print(f"{table}: {len(frame)} rows, {options.results / table}.md")
    return 1 if unknown else 0


def _report(options: argparse.Namespace) -> int:
    if options.from_benchmark is not None:
        return _from_benchmark(options)
    frames = {table: read_table(options.results / "data" / f"{table}.csv") for table in PAGES}
    if options.html:
        return _explorer(frames, options)
    with formats(".svg", ".png", *[".pdf"] * options.pdf):
        for table, frame in frames.items():
            print(f"{table}: {len(frame)} rows, {PAGES[table](frame, options.results)}")
    print(f"published figures: {neighbours.write_page(options.results)}")
    if options.readme:
        try:
            write_readme(frames, Path("README.md"))
        except (OSError, ValueError) as error:
            print(f"README.md of this repository is not here: {error}", file=sys.stderr)
            return 1
    return 0


def _explorer(tables: dict[str, pd.DataFrame], options: argparse.Namespace) -> int:
    try:
        path = write_explorer(tables, options.out, options.runs)
    except LibraryMissing as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{path}: {sum(map(len, tables.values()))} rows, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def _from_benchmark(options: argparse.Namespace) -> int:
    rows, others = rows_from_benchmarks(options.from_benchmark)
    data = options.results / "data" / f"{TABLE}.csv"
    add(lambda: table_of(rows), data, PAGES[TABLE])
    page = options.results / f"{TABLE}.md"
    print(f"{TABLE}: {len(rows)} rows added, {others} benchmarks of other things left out, {page}")
    return 0


def _import(options: argparse.Namespace) -> int:
    try:
        table, frame = import_rows(options.rows, options.label, options.results / "data", PAGES)
    except RowsError as error:
        print(f"{options.rows}: {error}", file=sys.stderr)
        return 1
    print(f"{table}: {len(frame)} rows, {options.results / table}.md")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
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


def _fetch(options: argparse.Namespace) -> int:
    try:
        print(fetch(options.name, options.root, options.version))
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
