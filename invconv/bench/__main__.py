"""python -m invconv.bench gpu | cuda_resources: measurements that need no sweep."""

import argparse
import sys
import time
from pathlib import Path

import torch

from invconv.bench.cuda_resources import CHIPS, measure
from invconv.report import cuda_resources as resources_page
from invconv.report import gpu as gpu_page
from invconv.rows.row import RowsError, cell_id
from invconv.rows.store import collect
from invconv.solvers.cuda import nvrtc
from invconv.sweeps.cells import run_cell
from invconv.sweeps.claims import ClaimLost, Held


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = argparse.ArgumentParser(prog="invconv.bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    gpu = commands.add_parser("gpu", help="every method and whole models on a GPU")
    gpu.add_argument("--out", type=Path, required=True, help="folder of the rows and the page")
    gpu.add_argument("--seconds", type=float, default=540, help="start no cell after so long")
    gpu.add_argument("--device", default="cuda")
    gpu.add_argument("--tiny", action="store_true", help="tiny shapes: a test of the command")
    gpu.add_argument("--only", default="", help="cells whose name contains this")
    gpu.add_argument("--force", action="store_true", help="measure again what has an ok row")
    resources = commands.add_parser("cuda_resources", help="registers and spills, without a GPU")
    resources.add_argument("--results", type=Path, default=Path("results"))
    resources.add_argument("--chips", nargs="+", choices=CHIPS, default=list(CHIPS))
    options = parser.parse_args(arguments)
    return {"gpu": _gpu, "cuda_resources": _resources}[options.command](options)


def _gpu(options: argparse.Namespace) -> int:
    from invconv.bench.gpu import cells

    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("torch finds no CUDA device; --device cpu --tiny tries the command", file=sys.stderr)
        return 2
    start, bad = time.perf_counter(), 0
    for cell in cells(device, options.tiny):
        if options.only not in cell.label:
            continue
        if time.perf_counter() - start > options.seconds:
            print(f"{cell.label}: not started, the time is up")
            bad += 1
            continue
        config = {**cell.labels, "tiny": options.tiny}
        name = cell_id(cell.label, config)
        folder = options.out / "gpu" / name
        try:
            row, _ = run_cell(
                name, "gpu", cell.labels, config, folder, device, cell.measure, options.force
            )
        except Held as held:
            print(f"{cell.label}: left to {held}")
            bad += 1
            continue
        except (ClaimLost, RowsError) as error:
            print(f"{cell.label}: {error}", file=sys.stderr)
            bad += 1
            continue
        inverse = row.values.get("inverse_s", 0.0)
        said = row.reason or (f"{inverse * 1e6:.1f} µs" if isinstance(inverse, float) else "")
        print(f"{cell.label}: {row.status} {said} ({row.values['duration_s']} s)", flush=True)
        bad += row.status not in ("ok", "unsupported")
        if device.type == "cuda":
            torch.cuda.empty_cache()
    results = options.out / "results"
    collect(options.out / "gpu", results / "data" / "gpu.csv", write_page=gpu_page.write_page)
    print(f"the page is {results / 'gpu.md'}")
    return 1 if bad else 0


def _resources(options: argparse.Namespace) -> int:
    missing = nvrtc.missing()
    if missing:
        print(missing, file=sys.stderr)
        return 2
    rows = [used for chip in options.chips for used in measure(chip)]
    print(resources_page.write_page(rows, nvrtc.version(), options.results))
    return 1 if any(used.element == "float32" and used.spilled for used in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
