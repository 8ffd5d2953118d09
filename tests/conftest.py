"""Fixtures for all tests."""

import os
from functools import partial
from pathlib import Path

import forked
import packaged
import pytest
import single_node
import torch
from hypothesis import HealthCheck, settings

from invconv.bench.gpu_tools import check_alone
from invconv.rows.provenance import ROOT, provenance, revision

# `make test` draws the same examples each time; `make test-full` looks for new ones
settings.register_profile(
    "quick",
    max_examples=20,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "full",
    settings.get_profile("quick"),
    max_examples=500,
    derandomize=False,
    database=settings.get_profile("default").database,
)
settings.load_profile("quick")

os.environ["PYTHONWARNDEFAULTENCODING"] = "1"  # see children/sitecustomize.py
os.environ["PYTHONWARNINGS"] = "ignore::EncodingWarning"  # of others
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).with_name("children")), os.environ.get("PYTHONPATH")])
)

LONGEST = [
    "conformance",
    "slurm",
    "launch",
    "cuda_emulation",
    "environment",
    "outcomes",
    "table2",
    "explorer",
    "map",
    "presets",
    "state_machine",
    "clock",
]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
"""Where the benchmarks run."""


def pytest_addoption(parser):
    """--full, for the benchmarks that take more than minutes."""
    parser.addoption("--full", action="store_true", help="every benchmark, the long ones too")


def pytest_sessionstart(session):
    """Write the commit into the JUnit report, from which tests/trust.py makes results/trust.md.

    Not by `record_testsuite_property`, which says nothing where tests run in several processes.
    """
    commit, dirty = revision()
    for plugin in session.config.pluginmanager.get_plugins():
        if hasattr(plugin, "add_global_property"):
            plugin.add_global_property("commit", f"{commit}{'+changes' if dirty else ''}")


def pytest_collection_modifyitems(config, items):
    """Benchmarks run under --benchmark-only alone; timing inside a test run says nothing.

    Files whose tests take minutes come first, so that no process of several waits for them.
    """
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONGEST)
    wanted = config.getoption("benchmark_only", False)
    kept = [item for item in items if ("benchmark" in getattr(item, "fixturenames", ())) == wanted]
    if not config.getoption("--full"):
        kept = [item for item in kept if not item.get_closest_marker("full")]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config, machine_info):
    """Adds what a row of ours says about its machine, not when and which code: it is compared."""
    here = provenance(DEVICE)
    machine_info["invconv"] = {
        name: here[name] for name in here if name not in ("commit", "dirty", "date", "threads")
    }


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_commit_info(config, commit_info):
    """The commit as a row has it: that of the code which was loaded, `results/` aside."""
    commit_info["id"], commit_info["dirty"] = revision()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def table2():
    """The module of table 2."""
    from invconv.tables import table2

    return table2


@pytest.fixture(scope="session")
def configured(table2):
    """What Hydra composes from the overrides of table 2's command line, typed."""
    from hydra import compose, initialize_config_dir

    from invconv.sweeps.application import CONF
    from invconv.sweeps.groups import register

    def make(*overrides):
        register(table2.TABLE)  # Hydra's store has the presets of one table at a time
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return table2.TABLE.typed(compose("table2", list(overrides)))

    return make


@pytest.fixture
def reproduce(tmp_path):
    """Runs one of the reproductions as a sweep in the test's folder."""

    def run(script, *overrides):
        return forked.run(ROOT / "reproductions" / script, "-m", *overrides, cwd=tmp_path)

    return run


@pytest.fixture
def float64():
    """float64 as torch's default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def poisoned_empty(monkeypatch):
    """Uninitialized memory holds NaN, so that a pixel which is never written shows."""

    def poison(function):
        def wrapped(*args, **kwargs):
            result = function(*args, **kwargs)
            return result.fill_(torch.nan) if result.is_floating_point() else result

        return wrapped

    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, poison(getattr(owner, name)))


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """The package's source archive."""
    return packaged.source_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="session")
def pure_wheel(archive, tmp_path_factory):
    """The wheel that is built where there is no compiler."""
    return packaged.wheel(archive, tmp_path_factory.mktemp("wheel"), compiler=False)


@pytest.fixture(scope="session")
def installed(pure_wheel, tmp_path_factory):
    """A new environment with that wheel, beside the packages of this one."""
    return packaged.Environment(tmp_path_factory.mktemp("installed") / "there", pure_wheel)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """The environment of a cluster that lives as long as the session."""
    folder = tmp_path_factory.mktemp("slurm")
    yield single_node.start(folder)
    single_node.stop(folder)


@pytest.fixture
def device():
    """The GPU, if there is one; TF32 is off, as torch has it for products by default."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    check_alone(DEVICE)
    return DEVICE


@pytest.fixture
def timed(benchmark, device):
    """Times a call that was verified, to its end on the device, and notes what a row needs."""

    def run(call, residual, method, **labels):
        if not residual <= labels.pop("tolerance", 1e-4):
            pytest.fail(f"not timed: the result is wrong, its residual is {residual:.1e}")
        operation, n, k = labels["operation"], labels["n"], labels["k"]
        # a layer without a kernel size stands beside 3×3 ones
        benchmark.group = f"{operation}, n = {n}, k = {k or 3}"
        timed = method if labels["layer"] == "solver" else labels["layer"]
        benchmark.name = f"{operation} {timed} n={n}" + (f" k={k}" if k else "")
        benchmark.extra_info.update(
            labels,
            residual=residual,
            method=method,
            device=str(device),
            threads=torch.get_num_threads(),
        )
        benchmark(partial(_to_the_end, call) if device.type == "cuda" else call)

    return run


def _to_the_end(call):
    call()
    torch.cuda.synchronize()
