"""What the CUDA kernels take of a chip, read from NVRTC without a GPU."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from invconv.files import write_text_atomically
from invconv.report import Document, Grid
from invconv.solvers.cuda import nvrtc
from invconv.solvers.cuda.resources import CHIPS, measure


def write(results: Path, chips: Sequence[str] = tuple(CHIPS)) -> int:
    """Compile every kernel, and write ``data/cuda_resources.csv`` and the page into ``results``.

    Returns the exit code: 0 if no float32 kernel spills registers, 2 without NVRTC.
    """
    if missing := nvrtc.missing():
        print(missing, file=sys.stderr)
        return 2
    kernels = pd.DataFrame([used for chip in chips for used in measure(chip)])
    rows = kernels.assign(nvrtc=".".join(map(str, nvrtc.version())))
    write_text_atomically(rows.to_csv(index=False), results / "data" / "cuda_resources.csv")
    print(page(rows).write(results))
    return int(((rows["element"] == "float32") & (rows["spilled"] > 0)).any())


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the data file's lines: a `Used` each, and NVRTC's version."""
    chips = [
        {
            "chip": chip,
            "type": element,
            "kernels": len(kernels),
            "that spill": (kernels["spilled"] > 0).sum(),
            "most registers": kernels["registers"].max(),
            "most shared bytes": f"{kernels['shared'].max():,}",
            "largest stack, bytes": kernels["stack"].max(),
        }
        for (chip, element), kernels in rows.groupby(["chip", "element"], sort=False)
    ]
    context = {
        "nvrtc": ", ".join(sorted(set(rows["nvrtc"].astype(str)))),
        "kernels": len(rows),
        "spilling": int((rows["spilled"] > 0).sum()),
        "chips": Grid(chips),
    }
    return Document("cuda_resources", Path(__file__).with_suffix(".md.j2"), context)
