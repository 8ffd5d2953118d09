#!/usr/bin/env python3
"""What a sweep on a real SLURM survives, and what a job costs: results/faults.md.

    python slurm/faults.py              about 17 minutes on two cores
    python slurm/faults.py --cells 8 --trivial 0

Starts slurm/single_node.sh with two emulated nodes in a temporary folder, trains the cells of a
sweep there while it kills whatever runs, gives the same command again until the table is complete,
and compares every cell with the same one of an undisturbed run in one process. Then times a sweep
of trivial cells on SLURM and in one process. Needs what single_node.sh needs.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from invconv.rows import collect, read_row
from invconv.rows.provenance import ROOT, provenance
from invconv.rows.row import Row, write_row
from invconv.rows.status import Status
from invconv.sweeps import cluster, states
from invconv.sweeps.locks import ATTEMPTS, attempts
from invconv.tables import faults

SWEEP = ["preset=tiny", "dataset=digits", "method=finc", "part=train", "progress=false"]
SLURM = ["launch=slurm", "cluster=single_node"]
RUNS = Path("runs/tiny/table2")

started: list[subprocess.Popen[bytes]] = []


def main() -> int:
    """Run the trial and write its rows and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1500, help="of training, for each cell")
    parser.add_argument("--rounds", type=int, default=3, help="of kills of every kind")
    parser.add_argument("--trivial", type=int, default=200, help="cells of the second sweep")
    parser.add_argument("--side-by-side", type=int, default=4, help="jobs at a time")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="invconv-faults-"))
    node = ROOT / "slurm" / "single_node.sh"
    os.environ |= {"CPUS": "4", "NODES": "2", "OMP_NUM_THREADS": "1"}
    subprocess.run([node, "start", folder / "slurm"], check=True, stdout=subprocess.DEVNULL)
    os.environ["SLURM_CONF"] = str(folder / "slurm" / "slurm.conf")
    os.chdir(folder)
    try:
        measured = {}
        if options.cells:
            measured["faults"] = trial(options)
        if options.trivial:
            measured["overhead"] = overhead(options)
    finally:
        for parent in started:
            parent.kill()
        subprocess.run([node, "stop", folder / "slurm"], check=True)
    device = torch.device("cpu")
    load = round(os.getloadavg()[2], 1)
    config = {name: value for name, value in vars(options).items() if name != "results"}
    for name, values in measured.items():
        complete = not values.get("lost") and not values.get("repeated")
        status = Status.OK if complete else Status.INCORRECT
        values["load_average"] = load
        row = Row(name, "faults", status, "", {}, config, values, provenance(device))
        write_row(row, folder / "rows" / name / "row.json")
    data = options.results / "data" / "faults.csv"
    collect(folder / "rows", data, "faults", faults.TABLE.write_page)
    print(f"the page is {options.results / 'faults.md'}")
    bad = any(values.get("lost") or values.get("repeated") for values in measured.values())
    if not bad:
        shutil.rmtree(folder)
    return 1 if bad else 0


def command(table: str, *overrides: str) -> list[str]:
    """The command line of a sweep."""
    return [sys.executable, str(ROOT / "reproductions" / f"{table}.py"), "-m", *overrides]


def trial(options: argparse.Namespace) -> dict[str, Any]:
    """Kills of every kind, and what they did."""
    seeds = ",".join(map(str, range(options.cells)))
    wanted = [*SWEEP, f"seed={seeds}", f"budget.training.steps={options.steps}"]
    wanted += ["budget.training.evaluate_every=100", "budget.training.checkpoint_every=100"]
    line = command(
        "table2", *SLURM, *wanted, f"hydra.launcher.array_parallelism={options.side_by_side}"
    )
    parents = [_start(line)]
    kills: Counter[str] = Counter()
    choose = random.Random(0)
    launches = 1
    for _ in range(options.rounds):
        for kind in (
            "SIGKILL to a cell",
            "the signal before the time limit",
            "scontrol requeue, as preemption does",
            "scancel",
            "a second sweep at the same time",
            "SIGKILL to the parent",
            "a node that goes down",
        ):
            victim = _victim(choose)
            if victim is None:
                break
            pid, job = victim
            if kind == "a second sweep at the same time":
                parents.append(_start(line))
                launches += 1
            elif kind == "SIGKILL to the parent":
                for parent in parents:
                    parent.kill()
                    parent.wait()
                parents = [_start(line)]
                launches += 1
            elif not _kill(kind, pid, job):
                continue  # it ended by itself just now
            kills[kind] += 1
            print(f"{kind}: job {job}, process {pid}", flush=True)
            time.sleep(1)
    last = time.monotonic()
    while [parent.wait() for parent in parents] != [0] * len(parents):
        parents = [_start(line)]
        launches += 1
    seconds = time.monotonic() - last
    runs = {row.cell: row for row in map(_row, _cells()) if row is not None}
    outcomes = {cell.name: states.attempts(cell) for cell in _cells()}
    print("the same cells, undisturbed, in one process", flush=True)
    subprocess.run(
        command("table2", *wanted, "runs=reference", "results=reference/results"), check=True
    )
    differ = [
        name
        for name, row in runs.items()
        if row.values["bpd"] != _bpd(Path("reference") / name / "row.json")
    ]
    return {
        "cells": options.cells,
        "launches": launches,
        **{f"kills: {kind}": number for kind, number in kills.items()},
        "attempts": sum(map(len, outcomes.values())),
        "lost": options.cells - sum(row.status == "ok" for row in runs.values()),
        "repeated": sum(ends.count("ok") > 1 for ends in outcomes.values()),
        "other_bpd": len(differ),
        "last_kill_to_table_s": round(seconds, 1),
    }


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the same trivial cells as SLURM jobs and in one process."""
    ns = ",".join(str(4 + i) for i in range(options.trivial // 10))
    cells = ["method=glow", "channels=1,2,3,4,5,6,7,8,9,10", f"n={ns}"]
    parallel = f"hydra.launcher.array_parallelism={options.side_by_side}"
    values: dict[str, Any] = {"side_by_side": options.side_by_side}
    for name, line in (
        ("slurm", command("table1", *SLURM, *cells, parallel, "runs=s", "results=s/results")),
        ("basic", command("table1", *cells, "runs=b", "results=b/results")),
    ):
        start = time.monotonic()
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        values[f"{name}_s"] = round(time.monotonic() - start, 1)
    values["trivial_cells"] = sum(_row(cell) is not None for cell in Path("s").glob("*/"))
    return values


def _start(line: list[str]) -> subprocess.Popen[bytes]:
    with Path("parents.log").open("a", encoding="utf-8") as log:
        parent = subprocess.Popen(line, stdout=log, stderr=log)
    started.append(parent)
    return parent


def _cells() -> list[Path]:
    return sorted(path.parent for path in RUNS.glob(f"*/{ATTEMPTS}"))


def _row(cell: Path) -> Row | None:
    return read_row(cell / "row.json")


def _bpd(path: Path) -> object:
    row = read_row(path)
    return None if row is None else row.values["bpd"]


def _victim(choose: random.Random) -> tuple[int, str] | None:
    """Process and job of a cell that is being trained; None if all are done."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        running = []
        for cell in _cells():
            last = attempts(cell)[-1:]
            if (cell / "log.csv").exists() and [one.outcome for one in last] == ["running"]:
                running.append((last[0].pid, last[0].job))
        queue = cluster.queue() or {}
        running = [(pid, job) for pid, job in running if queue.get(job, "") == "RUNNING"]
        if running:
            return choose.choice(running)
        time.sleep(0.3)
    return None


def _kill(kind: str, pid: int, job: str) -> bool:
    if kind == "SIGKILL to a cell":
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True
    if kind == "a node that goes down":
        _node("down", check=True)
        time.sleep(2)
        _node("resume", check=False)  # it may have reported itself back
        return True
    commands = {
        "the signal before the time limit": ["scancel", "--signal=USR2"],
        "scontrol requeue, as preemption does": ["scontrol", "requeue"],
        "scancel": ["scancel"],
    }
    return subprocess.run([*commands[kind], job], capture_output=True).returncode == 0


def _node(state: str, check: bool) -> None:
    update = ["scontrol", "update", "NodeName=n2", f"State={state}", "Reason=trial"]
    subprocess.run(update, check=check, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
