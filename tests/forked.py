"""Scripts in processes that are forked from one which has imported everything.

That saves the seconds which Python takes to import torch, Hydra and pandas. What depends on how a
process starts (its locale, the time of an import) needs `child.python`.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

MODULES = (
    "torch pandas scipy.stats matplotlib.figure hydra.main omegaconf jinja2 submitit "
    "invconv.__main__ invconv.commands invconv.tables.table invconv.training"
)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([*MODULES.split(), "forked"])


class Started:
    """A script that runs in a forked process, and what it has printed."""

    def __init__(self, script, *arguments, cwd, **environment):
        self.folder = tempfile.TemporaryDirectory()
        self.files = [Path(self.folder.name) / name for name in ("out", "err")]
        self.words = [str(script), *map(str, arguments)]
        what = self.words, str(cwd), {**os.environ, **environment}, *map(str, self.files)
        self.process = CONTEXT.Process(target=_script, args=what)
        self.process.start()

    def finish(self, timeout=300):
        """Waits for the end, and returns a `subprocess.CompletedProcess`."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise subprocess.TimeoutExpired(self.words, timeout)
        text = [file.read_text(encoding="utf-8", errors="replace") for file in self.files]
        self.folder.cleanup()
        return subprocess.CompletedProcess(self.words, self.process.exitcode, *text)

    def signal(self, number):
        """Sends it a signal."""
        os.kill(self.process.pid, number)


def call(function, *arguments):
    """Call a function of a module in a forked process, and return what it returns, or raise."""
    with ProcessPoolExecutor(1, CONTEXT) as pool:
        return pool.submit(function, *arguments).result()


def run(script, *arguments, cwd, timeout=300, **environment):
    """Run a script as `python script arguments`, and return a `subprocess.CompletedProcess`.

    With a variable that Python reads when it starts, it is that command.
    """
    if any(name.startswith("PYTHON") for name in environment):
        return subprocess.run(
            [sys.executable, script, *arguments],
            cwd=cwd,
            env=os.environ | environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
        )
    return Started(script, *arguments, cwd=cwd, **environment).finish(timeout)


def _script(words, cwd, environment, out, err):
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate((out, err), 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if "OMP_NUM_THREADS" in environment:
        import torch

        torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.argv[:] = words
    sys.path.insert(0, str(Path(words[0]).parent))
    runpy.run_path(words[0], run_name="__main__")
