"""Fixtures for all tests."""

import importlib.util
import subprocess
import sys

import pytest
import single_node
import torch
from hypothesis import HealthCheck, settings

from invconv.bench.provenance import ROOT

settings.register_profile(
    "ci", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("full", settings.get_profile("ci"), max_examples=500)
settings.load_profile("ci")


def pytest_collection_modifyitems(config, items):
    """Benchmarks run under --benchmark-only alone; timing inside a test run says nothing."""
    if config.getoption("benchmark_only"):
        return
    kept = [item for item in items if "benchmark" not in getattr(item, "fixturenames", ())]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def table2():
    """reproductions/table2.py as a module."""
    spec = importlib.util.spec_from_file_location("table2", ROOT / "reproductions" / "table2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def reproduce(tmp_path):
    """Runs one of the reproductions as a sweep in the test's folder."""

    def run(script, *overrides):
        return subprocess.run(
            [sys.executable, str(ROOT / "reproductions" / script), "-m", *overrides],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def float64():
    """float64 as torch's default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def poisoned_empty(monkeypatch):
    """Uninitialised memory holds NaN, so that a pixel which is never written shows."""

    def poison(function):
        def wrapped(*args, **kwargs):
            result = function(*args, **kwargs)
            return result.fill_(torch.nan) if result.is_floating_point() else result

        return wrapped

    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, poison(getattr(owner, name)))


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """The environment of a cluster that lives as long as the session."""
    folder = tmp_path_factory.mktemp("slurm")
    yield single_node.start(folder)
    single_node.stop(folder)
