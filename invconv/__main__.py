"""python -m invconv doctor | list | assess | collect | report | import | evaluate | ..."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from invconv.files import user_path
from invconv.rows.row import RowsError
from invconv.terminal import terminal

RESULTS, RUNS = Path("results"), Path("runs")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    with terminal():
        options = _parser().parse_args(arguments)
        module, _, name = options.action.rpartition(".")
        try:
            code: int = getattr(import_module(f"invconv.{module}"), name)(options)
            return code
        except RowsError as error:
            print(error, file=sys.stderr)
            return 1


class _Version(argparse.Action):
    """Prints the version, which takes longer to look up than to print help."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from invconv import __version__

        print(f"invconv {__version__}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="invconv", description=__doc__)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    kinds = parser.add_subparsers(required=True)

    def command(name: str, action: str, text: str) -> argparse.ArgumentParser:
        made = kinds.add_parser(name, help=text)
        made.set_defaults(action=action)
        return made

    def results(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--results", type=user_path, default=RESULTS, help="the folder of the pages"
        )

    doctor = command("doctor", "doctor.examine", "what this machine has, and what is missing")
    doctor.add_argument(
        "--require", nargs="+", default=[], metavar="METHOD", help="fail if one is not available"
    )
    listing = command(
        "list",
        "listing.show",
        "every cell below a folder; without one the layers, methods, data and tables",
    )
    listing.add_argument("runs", type=user_path, nargs="?", help="the sweep's folder: runs/table2")
    listing.add_argument(
        "overrides", nargs="*", help="of a sweep that was not started; by default the last one's"
    )
    listing.add_argument(
        "--sweeps", action="store_true", help="only the names of the tables that a sweep measures"
    )
    collecting = command(
        "collect",
        "commands.collect_rows",
        "merge the rows below a folder into results/",
    )
    collecting.add_argument("runs", type=user_path, nargs="?", default=RUNS)
    results(collecting)
    forgetting = command("forget", "forgetting.forget", "remove cells and their rows")
    forgetting.add_argument(
        "cells", nargs="+", metavar="CELL", help="names or patterns, such as 'default-cifar10-*'"
    )
    forgetting.add_argument("--runs", type=user_path, default=RUNS, help="the folder of the cells")
    results(forgetting)
    reporting = command("report", "commands.report", "write the pages again from results/data/")
    results(reporting)
    reporting.add_argument("--readme", action="store_true", help="update README.md, too")
    reporting.add_argument("--pdf", action="store_true", help="figures as PDF, too")
    reporting.add_argument(
        "--map",
        type=user_path,
        metavar="FOLDER",
        help="write where each number comes from, as CSV",
    )
    reporting.add_argument(
        "--latex", type=user_path, metavar="FOLDER", help="write every table in LaTeX"
    )
    reporting.add_argument(
        "--html", action="store_true", help="write one page with every row instead, to explore"
    )
    reporting.add_argument(
        "--from-benchmark",
        type=user_path,
        metavar="FILE",
        help="add what pytest --benchmark-only --benchmark-json=FILE timed, and write its page",
    )
    reporting.add_argument(
        "--out", type=user_path, default=RUNS / "explorer.html", help="the file of --html"
    )
    reporting.add_argument(
        "--runs", type=user_path, default=RUNS, help="where --html finds the cells' pictures"
    )
    contributed = command(
        "import", "contributions.import_file", "add rows that somebody else measured"
    )
    contributed.add_argument("rows", type=user_path, metavar="ROWS.csv")
    contributed.add_argument("--label", required=True, help="who measured them")
    results(contributed)
    submitted = command(
        "check-submission", "contributions.check_submission", "verify submitted rows and weights"
    )
    submitted.add_argument("folder", type=user_path, help="rows as .csv, weights as CELL.npz")
    submitted.add_argument("--root", type=user_path, help="where the data are")
    evaluate = command("evaluate", "commands.evaluate", "test bits per dimension of checkpoints")
    evaluate.add_argument("checkpoints", nargs="+", type=user_path, metavar="CHECKPOINT")
    evaluate.add_argument("--split", default="test", metavar="SPLIT", help="train, valid or test")
    evaluate.add_argument(
        "--draws", type=int, help="of noise per image, by default 16; their mean is printed"
    )
    evaluate.add_argument(
        "--samples", type=int, default=1, help="noise vectors of the importance-weighted bound"
    )
    evaluate.add_argument("--batch-size", type=int, default=250)
    evaluate.add_argument("--seed", type=int, default=0, help="of the noise")
    evaluate.add_argument("--device", default="cpu")
    evaluate.add_argument("--root", type=user_path, help="where the data are")
    get = command("fetch", "commands.fetch_data", "download a data set")
    get.add_argument("name", help="of a data set that `python -m invconv list` names")
    get.add_argument("--root", type=user_path, help="the folder to put it below")
    get.add_argument("--version", type=int, help="of ImageNet")
    own = command(
        "assess", "contributions.assess_layer", "check, count and time a layer of your own"
    )
    own.add_argument(
        "layer", metavar="LAYER", help="package.module:Class, file.py:Class, or a registered name"
    )
    own.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="of its constructor"
    )
    own.add_argument("--channels", type=int, default=3, help="of the images, by default 3")
    own.add_argument("--size", type=int, default=32, help="of the images, by default 32")
    own.add_argument("--batch", type=int, default=100, help="images at once, by default 100")
    own.add_argument(
        "--shapes", nargs="+", default=[], metavar="CxHxW", help="of the checks: 4x3x2, tiny ones"
    )
    own.add_argument("--quick", action="store_true", help="fewer checks and rounds: a first look")
    own.add_argument(
        "--allow-noisy", action="store_true", help="time although other processes compute"
    )
    own.add_argument("--device", default="cpu")
    own.add_argument("--json", type=user_path, metavar="FILE", help="write everything there")
    bench = command("bench", "commands.bench_against", "measurements that need no sweep")
    bench.add_argument(
        "--against", type=user_path, metavar="FILE.py", help="code of others, timed beside ours"
    )
    bench.add_argument("--only", default="", help="cells whose name contains this")
    bench.add_argument("--force", action="store_true", help="measure again what has an ok row")
    bench.add_argument("--rounds", type=int, default=20, help="of the clock, by default 20")
    bench.add_argument(
        "--allow-noisy", action="store_true", help="time although other processes compute"
    )
    bench.add_argument("--runs", type=user_path, default=RUNS, help="the folder of the cells")
    results(bench)
    benches = bench.add_subparsers()
    gpu = benches.add_parser("gpu", help="every method and whole models on a GPU")
    gpu.set_defaults(action="commands.bench_gpu")
    gpu.add_argument(
        "--out", type=user_path, required=True, help="folder of the rows and the page"
    )
    gpu.add_argument("--seconds", type=float, default=540, help="start no cell after so long")
    gpu.add_argument("--device", default="cuda")
    gpu.add_argument("--tiny", action="store_true", help="tiny shapes: a test of the command")
    gpu.add_argument("--only", default="", help="cells whose name contains this")
    gpu.add_argument("--force", action="store_true", help="measure again what has an ok row")
    resources = benches.add_parser("cuda_resources", help="registers and spills, without a GPU")
    resources.set_defaults(action="commands.bench_cuda_resources")
    results(resources)
    return parser


if __name__ == "__main__":
    sys.exit(main())
