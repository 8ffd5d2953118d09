"""The package as its users get it: source archive, wheel, environment without this repository."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from invconv.rows.provenance import ROOT

PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
NO_COMPILER = {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"}


def quietly(command, timeout=600, **options):
    """Runs a command that has to succeed."""
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def source_archive(folder):
    """The sdist, made of the files that git does not ignore."""
    quietly([sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT])
    (archive,) = folder.glob("invconv-*.tar.gz")
    return archive


def wheel(archive, folder, compiler=True):
    """The wheel that pip builds from the source archive."""
    surroundings = os.environ | ({} if compiler else NO_COMPILER)
    quietly([*PIP, "wheel", "--no-deps", "-w", folder, archive], env=surroundings)
    (built,) = folder.glob("invconv-*.whl")
    return built


class Environment:
    """A virtual environment in which a wheel is installed.

    Args:
        folder: a new one.
        wheel: to install.
        borrowed: whether the other packages are those of the tests; no network is needed then.
    """

    def __init__(self, folder, wheel, borrowed=True):
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        self.empty = folder / "empty"
        self.empty.mkdir()
        if borrowed:
            (site,) = folder.glob("lib/python*/site-packages")
            # a line of a .pth file adds the folder, and does not run the .pth files in it, of
            # which one would bring this repository back
            others = Path(sysconfig.get_path("purelib"))
            (site / "borrowed.pth").write_text(f"{others}\n")
            if (others / "nvidia").exists():  # NVRTC is looked for in the environment's own folder
                (site / "nvidia").symlink_to(others / "nvidia")
            quietly([*self.pip, "install", "--no-index", "--no-deps", wheel])

    @property
    def pip(self):
        """pip, as called from outside."""
        return [*PIP, "--python", self.python]

    def run(self, *arguments, timeout=900, **variables):
        """What Python prints, started in an empty folder."""
        surroundings = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "INVCONV", "VIRTUAL_ENV"))
        }
        return quietly(
            [self.python, *arguments],
            timeout,
            cwd=self.empty,
            env=surroundings | {name: str(value) for name, value in variables.items()},
        )

    def code(self, text, *arguments, **options):
        """What a text of Python prints."""
        return self.run("-c", text, *arguments, **options)

    def owns(self, path):
        """Whether a file lies in the environment."""
        return Path(path).is_relative_to(self.python.parents[1])
