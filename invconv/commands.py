"""What the commands of `python -m invconv` do; each returns its exit code."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invconv.files import brief
from invconv.rows.row import RowsError

if TYPE_CHECKING:
    import pandas as pd

    from invconv.tables.table import Table


def tables() -> "dict[str, Table]":
    """Every table; they need Hydra and what draws a page, which `bench gpu` does without."""
    from invconv.tables.table import tables

    return tables()


def _frames(results: Path) -> "dict[str, pd.DataFrame]":
    """The rows of every table; raises RowsError if there are none."""
    from invconv.rows import read_table

    found = {name: read_table(results / "data" / f"{name}.csv") for name in tables()}
    if all(frame.empty for frame in found.values()):
        raise RowsError(
            f"no table has a row in {results / 'data'}: give --results, the folder that holds "
            "data/, or measure first, as python reproductions/table1.py -m does"
        )
    return found


def collect_rows(options: argparse.Namespace) -> int:
    """Merge the rows below a folder and write their pages."""
    from invconv.rows import collect, read_rows

    if not options.runs.is_dir():
        print(f"there is no folder {options.runs}", file=sys.stderr)
        return 1
    found = {row.table for row in read_rows(options.runs)}
    if not found:
        raise RowsError(f"no cell below {options.runs} has a row: nothing was collected")
    unknown = found - set(tables())
    if unknown:
        print(f"no page for rows of {', '.join(sorted(unknown))}", file=sys.stderr)
    for name, table in tables().items():
        if name not in found:
            continue
        data = options.results / "data" / f"{name}.csv"
        frame = collect(options.runs, data, name, table.write_page)
        print(f"{name}: {len(frame)} rows, {options.results / name}.md")
    return 1 if unknown else 0


def report(options: argparse.Namespace) -> int:
    """Write the pages, the explorer, or the page of benchmarks."""
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
    from invconv.tables.leaderboard import leaderboard

    frames = _frames(options.results)
    board = leaderboard(frames)
    try:
        path = write_explorer(tables().values(), frames, options.out, options.runs, board)
    except LibraryMissing as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{path}: {sum(map(len, frames.values()))} rows, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def _from_benchmark(options: argparse.Namespace) -> int:
    from invconv.rows import add, table_of
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


def evaluate(options: argparse.Namespace) -> int:
    """Print the test bits per dimension of checkpoints."""
    import torch

    from invconv import evaluations
    from invconv.training import CheckpointError
    from invconv.training.evaluation import DRAWS, evaluate_checkpoint

    arguments = (options.split, options.samples, options.batch_size, options.seed, options.device)
    more = (options.root, DRAWS if options.draws is None else options.draws)
    try:
        torch.zeros((), device=options.device)
    except (RuntimeError, AssertionError) as error:
        print(f"{options.device!r} is no device here: {brief(error)}", file=sys.stderr)
        return 1
    try:
        found = [evaluate_checkpoint(path, *arguments, *more) for path in options.checkpoints]
    except (CheckpointError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    print(evaluations.text(found))
    return 0


def bench_gpu(options: argparse.Namespace) -> int:
    """Measures every method on a GPU."""
    from invconv.tables.gpu_session import session

    chosen = (options.device, options.tiny, options.only, options.force)
    return session(options.out, options.seconds, *chosen)


def bench_against(options: argparse.Namespace) -> int:
    """Times code that others released beside ours."""
    if options.against is None:
        print(
            "name what to measure: bench gpu, bench cuda_resources, or bench --against FILE.py",
            file=sys.stderr,
        )
        return 2
    from invconv.bench import Clock
    from invconv.tables.released_session import session

    clock = Clock(options.rounds, allow_noisy=options.allow_noisy)
    chosen = (options.only, options.force, clock)
    return session(options.against, options.runs, options.results, *chosen)


def bench_cuda_resources(options: argparse.Namespace) -> int:
    """Write what the CUDA kernels take of a chip."""
    from invconv.tables.cuda_resources import write

    return write(options.results)


def fetch_data(options: argparse.Namespace) -> int:
    """Download a data set."""
    from invconv.data import fetch

    try:
        print(fetch(options.name, options.root, options.version))
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
