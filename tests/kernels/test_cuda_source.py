"""The kernel text: installed with the package, compiled by NVRTC, cached, all without a GPU."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from invconv.solvers import methods, resolve
from invconv.solvers.cuda import driver, nvrtc
from invconv.solvers.cuda.inverse import plan_solve
from invconv.solvers.cuda.plan import H100, SizedProblem

if sys.platform != "linux":
    pytest.skip("NVRTC's wheels are for Linux", allow_module_level=True)

SIZED = SizedProblem(1, 4, 3, 16, 16, (3, 3), (2, 2), 0, False)
MEASURE = """
import json, sys
from invconv.solvers.cuda.resources import measure
import invconv
rows = measure(*json.loads(sys.argv[1]))
print(json.dumps([invconv.__file__, [used._asdict() for used in rows]]))
"""
COMPILE = """
import sys
from invconv.solvers.cuda import nvrtc
from invconv.solvers.cuda.plan import H100, SizedProblem
from invconv.solvers.cuda.inverse import plan_solve
original = nvrtc.compile_text
def counted(*arguments):
    print("compiled", flush=True)
    if sys.argv[1:] == ["hang"]:
        import time
        time.sleep(100)
    return original(*arguments)
nvrtc.compile_text = counted
plan = plan_solve(SizedProblem(1, 4, 3, 16, 16, (3, 3), (2, 2), 0, False), H100)
print(len(nvrtc.machine_code(plan.source, plan.options, 90)))
"""


def check_resources(installed, cache, chip, elements):
    asked = json.dumps([chip, elements])
    origin, rows = json.loads(installed.code(MEASURE, asked, INVCONV_CACHE=cache))
    assert installed.owns(origin)
    kernels = {(row["kernel"], row["channels"], row["kernel_size"]) for row in rows}
    for channels in (3, 6, 12, 24, 48):
        assert ("solve", channels, 3) in kernels and ("convolve", channels, 3) in kernels
    assert ("fold", 48, 3) in kernels and ("solve", 3, 11) in kernels
    for row in rows:
        assert 16 <= row["registers"] <= 255
        assert row["element"] != "float32" or row["spilled"] == 0, row
        assert row["stack"] == 0 or row["channels"] > 8, row
    return rows


@pytest.mark.parametrize(
    "chip", [pytest.param(chip, marks=pytest.mark.slow) for chip in ("sm_80", "sm_90", "sm_100")]
)
def test_every_specialisation_compiles_and_none_spills(installed, tmp_path, chip):
    rows = check_resources(installed, tmp_path, chip, [0])
    most = {"solve": 0, "convolve": 0, "fold": 0}
    for row in rows:
        most[row["kernel"]] = max(most[row["kernel"]], row["registers"])
    print(f"{chip}: {len(rows)} kernels, most registers {most}")


@pytest.mark.slow
@pytest.mark.parametrize("chip", ["sm_80", "sm_90", "sm_100"])
def test_the_other_types_compile(installed, tmp_path, chip):
    check_resources(installed, tmp_path, chip, [0, 1, 2])


def compile_in(cache, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", COMPILE, *arguments],
        env=os.environ | {"INVCONV_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_processes_compile_once_between_them(tmp_path):
    running = [compile_in(tmp_path) for _ in range(4)]
    said = [process.communicate(timeout=200) for process in running]
    assert all(process.returncode == 0 for process in running), said
    assert sum(out.count("compiled") for out, _ in said) == 1
    assert len({out.split()[-1] for out, _ in said}) == 1
    assert not list(tmp_path.glob("*.partial"))


def test_a_builder_that_is_killed_blocks_nobody(tmp_path):
    hanging = compile_in(tmp_path, "hang")
    assert hanging.stdout.readline() == "compiled\n"
    waiting = compile_in(tmp_path)
    time.sleep(2)
    assert waiting.poll() is None
    hanging.send_signal(signal.SIGKILL)
    out, error = waiting.communicate(timeout=200)
    assert waiting.returncode == 0, error
    assert out.startswith("compiled")
    hanging.communicate()


def test_what_the_cache_depends_on(tmp_path, monkeypatch):
    monkeypatch.setenv("INVCONV_CACHE", str(tmp_path))
    plan = plan_solve(SIZED, H100)
    compiled = []
    original = nvrtc.compile_text
    monkeypatch.setattr(nvrtc, "compile_text", lambda *key: compiled.append(key) or original(*key))
    code = nvrtc.machine_code(plan.source, plan.options, 90)
    assert code[:4] == b"\x7fELF"
    assert nvrtc.machine_code(plan.source, plan.options, 90) == code
    assert len(compiled) == 1
    nvrtc.machine_code(plan.source, plan.options, 80)
    nvrtc.machine_code(plan.source, (*plan.options, ("UNUSED", 1)), 90)
    monkeypatch.setattr(nvrtc, "version", lambda: (99, 0))
    nvrtc.machine_code(plan.source, plan.options, 90)
    assert len(compiled) == 4
    text = nvrtc.source("wavefront")
    monkeypatch.setattr(nvrtc, "source", lambda name: text + "\n")
    nvrtc.machine_code(plan.source, plan.options, 90)
    assert len(compiled) == 5
    assert len(list(tmp_path.glob("*.log"))) == 5


def test_a_chip_that_nvrtc_does_not_know_gets_intermediate_code(tmp_path, monkeypatch):
    monkeypatch.setenv("INVCONV_CACHE", str(tmp_path))
    plan = plan_solve(SIZED, H100)
    assert nvrtc.target(90) == "sm_90"
    assert nvrtc.target(999).startswith("compute_")
    assert nvrtc.target(91) == "compute_90"  # there is no such chip
    with pytest.raises(RuntimeError, match=r"and newer, not for sm_35.*wavefront"):
        nvrtc.target(35)
    assert b".target sm_" in nvrtc.machine_code(plan.source, plan.options, 999)


def test_a_text_that_does_not_compile_names_its_log(tmp_path, monkeypatch):
    monkeypatch.setenv("INVCONV_CACHE", str(tmp_path))
    monkeypatch.setattr(nvrtc, "source", lambda name: "__global__ void broken() { nothing; }")
    with pytest.raises(RuntimeError, match=r"cannot compile wavefront.cuh for sm_90; its log"):
        nvrtc.machine_code("wavefront", (), 90)
    (log,) = tmp_path.glob("*.log")
    assert 'identifier "nothing" is undefined' in log.read_text()
    assert not list(tmp_path.glob("*.bin"))


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INVCONV_CACHE", str(tmp_path / "file"))
    with pytest.raises(RuntimeError, match="INVCONV_CACHE"):
        nvrtc.machine_code("wavefront", plan_solve(SIZED, H100).options, 90)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU is there, as far as torch and the driver say."""
    monkeypatch.setattr(driver.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(driver, "chip", lambda index: H100)
    driver._unknown.cache_clear()
    yield torch.device("cuda")
    driver._unknown.cache_clear()


def test_a_chip_that_is_too_old_is_missing(gpu, monkeypatch):
    monkeypatch.setattr(driver, "chip", lambda index: replace(H100, architecture=35))
    assert "compiles for sm_" in driver.missing() and "not for sm_35" in driver.missing()
    methods._say_once.cache_clear()
    with pytest.warns(UserWarning, match="not for sm_35"):
        assert resolve("auto", gpu) == "wavefront"
    methods._say_once.cache_clear()


def test_what_is_missing_is_said(gpu, monkeypatch):
    assert driver.missing() == ""

    def absent():
        raise ImportError("no module named cuda")

    monkeypatch.setattr(nvrtc, "version", absent)
    nvrtc.missing.cache_clear()
    try:
        assert "pip install 'invconv[cuda]'" in driver.missing()
    finally:
        nvrtc.missing.cache_clear()


def test_auto_goes_on_in_torch_and_says_so_once(gpu, monkeypatch):
    assert resolve("auto", gpu) == resolve("auto", gpu, inverse=False) == "compiled"
    assert resolve("diagonal_channel_4", gpu) == "diagonal_channel_4"
    monkeypatch.setattr(nvrtc, "missing", lambda: "cuda-bindings are not here")
    methods._say_once.cache_clear()
    with pytest.warns(UserWarning, match="cuda-bindings are not here") as caught:
        assert resolve("auto", gpu) == "wavefront"
        assert resolve("auto", gpu, inverse=False) == "torch"
    assert len(caught) == 1
    methods._say_once.cache_clear()
    with pytest.raises(RuntimeError, match="'compiled' is not available: cuda-bindings"):
        resolve("compiled", gpu)
