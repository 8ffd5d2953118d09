"""The package as a stranger installs it: without a compiler, with one, without a network."""

import os
import re
import tarfile
import zipfile

import pytest
from packaged import PIP, Environment, quietly, wheel

from invconv.rows.provenance import ROOT

USE = (ROOT / "tests" / "installed_wheel.py").read_text()
LOADED = """
import sys
import torch
before = set(sys.modules)
import invconv
new, theirs = (
    {name.partition(".")[0] for name in names} for names in (set(sys.modules) - before, before)
)
print(*sorted(new - theirs - sys.stdlib_module_names))
"""
"""What more than the standard library, torch and what torch loads by itself."""
SECONDS = """
from resource import RUSAGE_SELF, getrusage
from importlib import import_module
import sys
import_module(sys.argv[1])
used = getrusage(RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""
TYPED = """
import torch
from invconv import FInC, InvertibleConv, build, solve_triangular_conv2d
from invconv.flows import MultiScaleFlow
from invconv.testing import check_invertible_conv

layer: InvertibleConv = build("finc", (4, 8, 8), kernel_size=3)
z, log_det = layer(torch.zeros(1, 4, 8, 8))
reveal_type(FInC(4).inverse(z))
reveal_type(MultiScaleFlow("finc", (1, 8, 8), 1, 1, 4).sample(2))
check_invertible_conv(lambda shape: FInC(shape[0]), [(4, 3, 3)])
layer.inverse(z, chek=True)
"""


def test_the_source_archive_holds_what_is_needed(archive):
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"LICENSE", "README.md", "kernels/src/run.cpp", "kernels/cuda/wavefront.cuh"} <= names
    assert {
        "invconv/py.typed",
        "tests/packaging/test_install.py",
        "reproductions/table2.py",
    } <= names
    assert not [name for name in names if name.startswith(("results/", "runs/", ".venv", ".ci"))]


def test_a_wheel_without_a_compiler_is_pure_python(pure_wheel):
    names = zipfile.ZipFile(pure_wheel).namelist()
    assert "invconv/solvers/compiled.py" in names
    assert "invconv/report/figures_published/table2.csv" in names
    assert "invconv/solvers/cuda/wavefront.cuh" in names
    assert "invconv/py.typed" in names
    assert not [name for name in names if "_compiled" in name or name.startswith("tests")]


def test_it_works_without_a_compiler_and_a_network(installed):
    assert installed.owns(installed.code(USE, PATH="").split()[-1])
    doctor = installed.run("-m", "invconv", "doctor")
    assert "compiled MISSING: the C++ extension was not built" in " ".join(doctor.split())
    assert "wavefront" in doctor
    assert "tables:\n  table1 " in installed.run("-m", "invconv", "list")


def test_importing_it_compiles_nothing_and_needs_torch_alone(installed, tmp_path):
    assert installed.code(LOADED, PATH="", INVCONV_CACHE=tmp_path).split() == [
        "invconv",
        "lazy_loader",
    ]
    assert not list(tmp_path.iterdir())
    assert not list(installed.empty.iterdir())


@pytest.mark.slow
def test_importing_it_takes_little_longer_than_torch(installed):
    """Processor time of fresh processes in turns, so that other work counts less."""
    taken = {"torch": [], "invconv": []}
    for _ in range(5):
        for name, seconds in taken.items():
            seconds.append(float(installed.code(SECONDS, name)))
    torch, invconv = (sorted(seconds)[2] for seconds in taken.values())
    print(f"import torch {torch:.2f} s, import invconv {invconv:.2f} s")
    assert invconv < 1.3 * torch


@pytest.mark.slow
def test_its_types_reach_a_users_code(installed, tmp_path):
    (tmp_path / "user.py").write_text(TYPED)
    found = installed.run(
        "-c",
        "import sys; from mypy.api import run; print(*run(sys.argv[1:]))",
        *("--strict", "--python-executable", installed.python, tmp_path / "user.py"),
        *("--cache-dir", ROOT / ".mypy_cache" / "user"),
    )
    assert found.count('Revealed type is "torch._tensor.Tensor"') == 2, found
    assert 'Unexpected keyword argument "chek"' in found
    assert "Found 1 error" in found


@pytest.mark.slow
def test_with_a_compiler_the_kernels_are_there(archive, tmp_path):
    environment = Environment(tmp_path / "there", wheel(archive, tmp_path))
    assert environment.owns(environment.code(USE).split()[-1])
    environment.run("-m", "invconv", "doctor", "--require", "compiled")


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [False, True])
def test_installed_from_a_folder_of_downloads(archive, tmp_path, compiler):
    """Nothing but what the package asks for, and nothing from an index after the download.

    As wheels: one of its requirements has but a source archive, which asks for more to be built.
    """
    built = wheel(archive, tmp_path, compiler)
    house = tmp_path / "house"
    pins = ["--constraint", ROOT / "constraints.txt"]
    quietly([*PIP, "wheel", *pins, "--wheel-dir", house, built], timeout=1200)
    environment = Environment(tmp_path / "there", built, borrowed=False)
    install = [*environment.pip, "install", "--no-index", "--find-links", house, "invconv"]
    quietly(install, timeout=1200, env=os.environ | {"PATH": ""})
    assert environment.owns(environment.code(USE).split()[-1])
    doctor = environment.run("-m", "invconv", "doctor", *["--require", "compiled"][: 2 * compiler])
    assert re.search("datasets +MISSING", doctor)
    run = ["-m", "table2", "-m", "preset=tiny", "dataset=digits", "method=finc", "progress=false"]
    said = environment.run(*run, PYTHONPATH=ROOT / "reproductions")
    assert "1 of 1 cells ok" in said
