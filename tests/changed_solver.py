"""A pytest plugin, `-p changed_solver`: a slow or a wrong solver, as $CHANGED_SOLVER says."""

import os
from dataclasses import replace

from invconv.solvers.methods import METHODS


def pytest_configure(config):
    """Puts the changed solver in the place of the compiled one."""
    method = METHODS["compiled"]

    def slow(*arguments):
        for _ in range(4):
            method.run(*arguments)
        return method.run(*arguments)

    def wrong(*arguments):
        return method.run(*arguments).mul_(1.01)

    run = {"slow": slow, "wrong": wrong}[os.environ["CHANGED_SOLVER"]]
    METHODS["compiled"] = replace(method, run=run)
