"""python -m invconv doctor | list | collect | report | evaluate | fetch."""

import argparse
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from invconv.bench import collect, provenance, read_table
from invconv.conv import available, layer_class
from invconv.data import DATASETS, SPLITS, fetch
from invconv.report import PAGES, assessments
from invconv.report.readme import write_readme
from invconv.solvers import FORWARD_METHODS, METHODS
from invconv.solvers.compiled import instruction_sets
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
)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = argparse.ArgumentParser(prog="invconv", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="what this machine has, and what is missing")
    doctor.add_argument(
        "--require", nargs="+", default=[], metavar="METHOD", help="fail if one is not available"
    )
    commands.add_parser("list", help="the layers, solver methods, data sets and tables")
    for name, help_text in (
        ("collect", "merge the rows below runs/ into results/data/ and write the pages"),
        ("report", "write the pages again from results/data/"),
    ):
        command = commands.add_parser(name, help=help_text)
        command.add_argument("--results", type=Path, default=Path("results"))
        if name == "collect":
            command.add_argument("--runs", type=Path, default=Path("runs"))
        else:
            command.add_argument("--readme", action="store_true", help="update README.md, too")
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
        "fetch": _fetch,
    }
    return actions[options.command](options)


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


def _list(_: argparse.Namespace) -> int:
    print("layers:")
    for name in available():
        print(f"  {name:8} {(layer_class(name).__doc__ or '').splitlines()[0]}")
    print("solver methods:", ", ".join(METHODS))
    print("data sets:", ", ".join(DATASETS))
    print("tables:", ", ".join(PAGES))
    return 0


def _collect(options: argparse.Namespace) -> int:
    for table, write_page in PAGES.items():
        frame = collect(options.runs / table, options.results / "data" / f"{table}.csv")
        print(f"{table}: {len(frame)} rows, {write_page(frame, options.results)}")
    return 0


def _report(options: argparse.Namespace) -> int:
    for table, write_page in PAGES.items():
        frame = read_table(options.results / "data" / f"{table}.csv")
        print(f"{table}: {len(frame)} rows, {write_page(frame, options.results)}")
    if options.readme:
        write_readme(read_table(options.results / "data" / "table2.csv"), Path("README.md"))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    arguments = (options.split, options.samples, options.batch_size, options.seed, options.device)
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
