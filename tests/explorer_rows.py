"""Rows for the tests of the explorer, as many as are wanted."""

import base64
import gzip
import json
import random
import re

import pandas as pd

METHODS = ["glow", "finc", "emerging", "cinc", "woodbury", "macow", "finc_paper", "someone's"]
TIMES = ("ft", "st", "train_step", "st_published")


def many(count, machines=2, commits=3):
    """``count`` rows of table 2, each 20th of them failed, with values in every column."""
    draw = random.Random(0)
    return pd.DataFrame([_row(i, draw, machines, commits) for i in range(count)])


def read(path):
    """The data of an explorer page."""
    packed = re.search(
        r'<script[^>]*id="rows-data"[^>]*>([^<]*)<', path.read_text(encoding="utf-8")
    )
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def _row(i, draw, machines, commits):
    cell, rest = divmod(i, machines * commits)
    machine, commit = divmod(rest, commits)
    method = METHODS[cell % len(METHODS)]
    dataset = ("digits", "photographs", "cifar10")[cell // len(METHODS) % 3]
    seed = cell // len(METHODS) // 3
    values = {f"{t}{q}_s": draw.uniform(1e-4, 9) for t in TIMES for q in ("", "_q25", "_q75")}
    values |= {name: draw.uniform(2, 5) for name in ("bpd", "valid_bpd", "histogram_bpd")}
    values |= {name: draw.uniform(0, 0.1) for name in ("bpd_interval", "st_vs_glow")}
    values |= {"round_trip_error": draw.uniform(0, 1e-6), "parameters": draw.randrange(10**6)}
    values |= {"train_step_extra_bytes": draw.randrange(10**9), "timed_images": 100}
    failed = i % 20 == 7
    config = {"method": {"name": method}, "seed": seed, "preset": "paper"}
    config["budget"] = {"training": {"steps": 600, "learning_rate": 0.002, "batch_size": 64}}
    return {
        "cell": f"paper-{dataset}-{method}-s{seed}-{cell:08x}",
        "table": "table2",
        "preset": "paper",
        "dataset": dataset,
        "method": method,
        "seed": seed,
        "status": "oom" if failed else "ok",
        "reason": "OutOfMemoryError: tried to allocate 20 GiB" if failed else None,
        **({} if failed else values),
        "solver": None if failed else "compiled",
        "duration_s": draw.uniform(1, 99),
        "device": f"device {machine}",
        "machine": f"machine {machine}",
        "threads": 2,
        "python": "3.11.7",
        "torch": "2.13.0",
        "isa": "avx512",
        "tf32": False,
        "commit": f"{commit}abcdef012",
        "dirty": False,
        "date": f"2026-01-{commit + 1:02}T00:00:00Z",
        "config": json.dumps(config),
    }
