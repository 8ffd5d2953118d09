"""What `python -m invconv doctor` prints: what this machine has and lacks, and a verdict."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from invconv.terminal import aligned

if TYPE_CHECKING:
    from torch import device

PACKAGES = {
    "torch": "",
    "hydra-core": "",
    "submitit": "",
    "pandas": "",
    "matplotlib": "",
    "scikit-learn": "",
    "cuda-bindings": "cuda",
    "datasets": "data",
    "tensorboard": "tensorboard",
    "plotly": "explorer",
    "itables": "explorer",
}
"""Package → the extra of invconv that brings it, "" for what every installation has."""


def examine(options: argparse.Namespace) -> int:
    """Print what this machine has; 1 if a method that is required is missing."""
    import torch

    from invconv.bench.quiet import busy_machine
    from invconv.rows.provenance import provenance, unknown_commit
    from invconv.solvers.compiled import instruction_sets

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    machine = [(name, str(value)) for name, value in provenance(device).items()]
    machine.append(("instruction sets", ", ".join(instruction_sets()) or "none"))
    print(aligned(machine, "machine:"))
    versions = {name: _version(name) for name in PACKAGES}
    print("\n" + aligned([*versions.items()], "packages:"))
    missing = _methods(device)
    warnings = list(filter(None, [unknown_commit(), busy_machine()]))
    if absent := [name for name, one in versions.items() if one.startswith("MISSING")]:
        warnings.append(f"not installed: {', '.join(absent)}")
    slow = bool(missing["compiled"])
    if slow:
        warnings.append("without the compiled kernels inverses run in torch, slowly")
    if warnings:
        print("\n" + aligned([(text,) for text in warnings], "warnings:"))
    wanted = [name for name in options.require if missing.get(name, "unknown")]
    for name in wanted:
        print(f"required method {name!r} is not available", file=sys.stderr)
    print("\n" + _verdict(wanted, slow, device))
    return 1 if wanted else 0


def _methods(device: "device") -> dict[str, str]:
    """Print the methods of both solvers; return why each is missing, "" where it is not."""
    from invconv.solvers import FORWARD_METHODS, METHODS

    missing = dict[str, str]()
    solvers = {"solve_triangular_conv2d": METHODS, "triangular_conv2d": FORWARD_METHODS}
    for title, methods in solvers.items():
        reasons = {name: method.missing(device) for name, method in methods.items()}
        lines = [
            (name, f"MISSING: {reasons[name]}" if reasons[name] else method.summary)
            for name, method in methods.items()
        ]
        print("\n" + aligned(lines, f"methods of {title}:"))
        for name, why in reasons.items():
            missing[name] = why and missing.get(name, why)
    return missing


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        extra = PACKAGES[package]
        return f"MISSING: pip install 'invconv{f'[{extra}]' if extra else ''}'"


def _verdict(wanted: Sequence[str], slow: bool, device: "device") -> str:
    if wanted:
        return f"not ready: {', '.join(wanted)} missing"
    where = "a GPU" if device.type == "cuda" else "the CPU"
    return f"ready: on {where}, {'without' if slow else 'with'} compiled kernels"
