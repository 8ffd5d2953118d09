"""python -m invconv doctor | list | collect | report | import | evaluate | fetch | bench."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from invconv import commands
from invconv.data import DATASETS, SPLITS
from invconv.rows import RowsError

RESULTS, RUNS = Path("results"), Path("runs")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = _parser().parse_args(arguments)
    action: Callable[[argparse.Namespace], int] = options.action
    try:
        return action(options)
    except RowsError as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="invconv", description=__doc__)
    kinds = parser.add_subparsers(required=True)

    def command(name: str, action: Callable[..., int], text: str) -> argparse.ArgumentParser:
        made = kinds.add_parser(name, help=text)
        made.set_defaults(action=action)
        return made

    def results(made: argparse.ArgumentParser) -> None:
        made.add_argument("--results", type=Path, default=RESULTS, help="the folder of the pages")

    doctor = command("doctor", commands.doctor, "what this machine has, and what is missing")
    doctor.add_argument(
        "--require", nargs="+", default=[], metavar="METHOD", help="fail if one is not available"
    )
    listing = command(
        "list",
        commands.show,
        "the cells of a sweep; without a folder the layers, methods, data and tables",
    )
    listing.add_argument("runs", type=Path, nargs="?", help="the sweep's folder: runs/table2")
    listing.add_argument(
        "overrides", nargs="*", help="of a sweep that was not started; by default the last one's"
    )
    listing.add_argument(
        "--sweeps", action="store_true", help="only the names of the tables that a sweep measures"
    )
    collecting = command(
        "collect",
        commands.collect_rows,
        "merge the rows below a folder into results/",
    )
    collecting.add_argument("runs", type=Path, nargs="?", default=RUNS)
    results(collecting)
    reporting = command("report", commands.report, "write the pages again from results/data/")
    results(reporting)
    reporting.add_argument("--readme", action="store_true", help="update README.md, too")
    reporting.add_argument("--pdf", action="store_true", help="figures as PDF, too")
    reporting.add_argument(
        "--map", type=Path, metavar="FOLDER", help="write where each number comes from, as CSV"
    )
    reporting.add_argument(
        "--latex", type=Path, metavar="FOLDER", help="write every table in LaTeX"
    )
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
        "--out", type=Path, default=RUNS / "explorer.html", help="the file of --html"
    )
    reporting.add_argument(
        "--runs", type=Path, default=RUNS, help="where --html finds the cells' pictures"
    )
    contributed = command("import", commands.import_file, "add rows that somebody else measured")
    contributed.add_argument("rows", type=Path, metavar="ROWS.csv")
    contributed.add_argument("--label", required=True, help="who measured them")
    results(contributed)
    evaluate = command("evaluate", commands.evaluate, "test bits per dimension of checkpoints")
    evaluate.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    evaluate.add_argument("--split", default="test", choices=SPLITS)
    evaluate.add_argument("--samples", type=int, default=1, help="draws of noise per image")
    evaluate.add_argument("--batch-size", type=int, default=250)
    evaluate.add_argument("--seed", type=int, default=0, help="of the noise")
    evaluate.add_argument("--device", default="cpu")
    evaluate.add_argument("--root", type=Path, help="where the data are")
    get = command("fetch", commands.fetch_data, "download a data set from the Hugging Face hub")
    get.add_argument("name", choices=DATASETS)
    get.add_argument("--root", type=Path, help="the folder to put it below")
    get.add_argument("--version", type=int, help="of ImageNet")
    bench = kinds.add_parser("bench", help="measurements that need no sweep")
    benches = bench.add_subparsers(required=True)
    gpu = benches.add_parser("gpu", help="every method and whole models on a GPU")
    gpu.set_defaults(action=commands.bench_gpu)
    gpu.add_argument("--out", type=Path, required=True, help="folder of the rows and the page")
    gpu.add_argument("--seconds", type=float, default=540, help="start no cell after so long")
    gpu.add_argument("--device", default="cuda")
    gpu.add_argument("--tiny", action="store_true", help="tiny shapes: a test of the command")
    gpu.add_argument("--only", default="", help="cells whose name contains this")
    gpu.add_argument("--force", action="store_true", help="measure again what has an ok row")
    resources = benches.add_parser("cuda_resources", help="registers and spills, without a GPU")
    resources.set_defaults(action=commands.bench_cuda_resources)
    results(resources)
    return parser


if __name__ == "__main__":
    sys.exit(main())
