"""The C++ kernels without Python: under AddressSanitizer and UndefinedBehaviorSanitizer."""

import re
import shutil
import subprocess

import pytest

from invconv.rows.provenance import ROOT

SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=all -g -O1"


@pytest.mark.slow
@pytest.mark.parametrize("openmp", ["ON", "OFF"])
def test_driver(tmp_path, openmp, record_property):
    assert shutil.which("cmake"), "cmake builds the driver: pip install cmake"
    configure = [
        "cmake",
        "-S",
        str(ROOT / "kernels"),
        "-B",
        str(tmp_path),
        "-DINVCONV_PYTHON=OFF",
        "-DINVCONV_DRIVER=ON",
        f"-DINVCONV_OPENMP={openmp}",
        "-DCMAKE_BUILD_TYPE=Debug",
        f"-DCMAKE_CXX_FLAGS={SANITIZE}",
    ]
    subprocess.run(configure, check=True, capture_output=True, timeout=100)
    build = ["cmake", "--build", str(tmp_path), "--parallel", "2"]
    subprocess.run(build, check=True, capture_output=True, timeout=500)
    run = subprocess.run(
        [str(tmp_path / "driver")], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    found = re.search(r"(\d+) problems, 0 failures", run.stdout)
    assert found
    record_property("cases", int(found[1]))
