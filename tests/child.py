"""Python, and the sweeps of table 1, in processes of their own."""

import os
import subprocess
import sys

import forked

from invconv.rows.provenance import ROOT

LATIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""A locale whose encoding is not UTF-8, on every system."""
GLOW = ("n=8", "method=glow")
"""One cell of table 1."""


def python(folder, *arguments, code=0, **environment):
    """What Python prints, errors included."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=200,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def sweep(folder, *arguments, table="table1", code=0, **environment):
    """What a sweep prints."""
    command = ROOT / "reproductions" / f"{table}.py", *arguments
    done = forked.run(*command, cwd=folder, **environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr
