"""The package builds without a compiler, too."""

import os
import subprocess
import sys
import zipfile

import pytest

from invconv.bench.provenance import ROOT


@pytest.mark.slow
def test_a_wheel_without_a_compiler_is_pure_python(tmp_path):
    nowhere = {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++"}
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, env=os.environ | nowhere, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("invconv-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "invconv/solvers/compiled.py" in names
    assert "invconv/report/figures_published/table2.csv" in names
    assert not [name for name in names if "_compiled" in name]
