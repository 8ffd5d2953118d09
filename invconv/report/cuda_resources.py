"""The page `results/cuda_resources.md`: what the CUDA kernels take of a chip."""

from collections.abc import Sequence
from pathlib import Path

from invconv.bench.cuda_resources import Used
from invconv.files import write_text_atomically
from invconv.report import markdown as md

PLACES = ("registers", "shared", "global")
FOLDED = {None: md.ABSENT, 0: "by each block", 1: "before"}
"""Whether the anchor's inverse is multiplied into the taps by a launch of its own."""


def write_page(rows: Sequence[Used], nvrtc: tuple[int, int], results: Path) -> Path:
    """Writes ``results/cuda_resources.md`` and returns its path."""
    path = results / "cuda_resources.md"
    write_text_atomically(page(rows, nvrtc), path)
    return path


def page(rows: Sequence[Used], nvrtc: tuple[int, int]) -> str:
    """The whole page, a pure function of the rows and NVRTC's version."""
    merged: dict[tuple[tuple[str, str], ...], int] = {}
    for used in rows:
        key = tuple(_line(used).items())
        merged[key] = max(merged.get(key, 0), used.shared)
    lines = [dict(key) | {"shared bytes": str(shared)} for key, shared in merged.items()]
    spilling = sum(used.spilled > 0 for used in rows)
    return (
        "\n\n".join(
            (
                "# What the CUDA kernels take of a chip",
                "Made by `python -m invconv.bench cuda_resources` with NVRTC "
                f"{nvrtc[0]}.{nvrtc[1]}, without a GPU; do not edit. One line per kernel, "
                "specialisation and chip that the field's shapes lead to (n from 4 to 512, 1 and "
                "100 images). Shared memory is the most that a launch asks for; an image larger "
                "than the last column but one says is cut into tiles, which read what they need "
                "of earlier tiles from the output through the L2 cache. The stack of more than 8 "
                "channels is the column that is being folded, no spill.",
                f"{spilling} of {len(rows)} compiled kernels spill registers.",
                md.table(lines),
            )
        )
        + "\n"
    )


def _line(used: Used) -> dict[str, str]:
    options = dict(used.options)
    return {
        "chip": used.chip,
        "kernel": used.kernel,
        "type": used.element,
        "first met in": used.method,
        "C'": str(used.channels),
        "k": str(used.kernel_size),
        "outputs × rows": f"{options['OUTPUTS']} × {options['ROWS']}",
        "taps in": PLACES[options["TAPS_IN"]],
        "taps folded": FOLDED[options.get("FOLDED")],
        "registers": str(used.registers),
        "spilled bytes": str(used.spilled),
        "stack bytes": str(used.stack),
        "whole image up to n": used.largest or md.ABSENT,
    }
