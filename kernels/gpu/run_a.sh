#!/bin/bash
# A: is it right? About 200 s on a machine with a GPU, in a copy of the repository with .gpu/.
#
#     bash kernels/gpu/run_a.sh            writes into $OUT: versions, smoke test, tests, sanitizers
set -u
scratch=$(dirname "$(mktemp -u)")
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1 INVCONV_CACHE=$scratch/kernels INVCONV_COMMIT=$(cat .gpu/commit)
export INVCONV_MACHINE="1x NVIDIA H200, 16 cores" PATH=$PATH:/usr/local/cuda/bin:/opt/nvidia/compute-sanitizer
OUT=${OUT:-$scratch/out}
mkdir -p "$OUT"
start=$SECONDS
say() { echo "== $((SECONDS - start)) s: $*"; }
tar -C "$scratch" -xzf .gpu/kernels.tgz
cp .gpu/_compiled*.so invconv/solvers/
if ! python3 -c "from invconv.solvers import compiled; assert compiled.extension(), compiled._reason"; then
  say "the carried extension does not load: building"
  python3 -m pip install -q --no-deps --no-build-isolation --no-index --target "$scratch/site" . &&
    cp "$scratch"/site/invconv/solvers/_compiled*.so invconv/solvers/
fi
say versions
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,memory.total --format=csv,noheader
(time nvidia-smi --query-compute-apps=pid --format=csv,noheader) 2>&1 | grep real
python3 - <<'PY'
import sys

import cuda.bindings
import numpy
import pandas
import torch

from invconv.solvers.cuda import driver, nvrtc

print(sys.version.split()[0], "torch", torch.__version__, "numpy", numpy.__version__)
print("pandas", pandas.__version__, "cuda-bindings", cuda.bindings.__version__)
print("nvrtc", nvrtc.version(), "missing:", driver.missing() or "nothing", driver.chip(0))
PY
say "smoke test"
timeout 40 python3 - <<'PY'
import torch

from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.solvers.cuda import driver
from invconv.solvers.problem import CORNERS

for c, n, b in ((3, 16, 100), (12, 32, 7), (3, 300, 2)):
    weight = 0.05 * torch.randn(4 * c, c, 3, 3)
    weight[:, :, 2, 2] = torch.eye(c).repeat(4, 1)
    z = torch.randn(b, 4 * c, n, n)
    x = solve_triangular_conv2d(z.double(), weight.double(), corners=CORNERS)
    y = solve_triangular_conv2d(z.cuda(), weight.cuda(), corners=CORNERS)
    again = triangular_conv2d(y, weight.cuda(), corners=CORNERS)
    errors = (y.double().cpu() - x).abs().max().item(), (again.cpu() - z).abs().max().item()
    print(c, n, b, "inverse", errors[0], "forward", errors[1])
    assert max(errors) < 1e-3
print(len(driver._functions), "kernels loaded")
PY
[ $? = 0 ] || { say "the smoke test failed: stopping"; exit 1; }
# the sanitizers run beside the tests: neither is timed
for tool in memcheck racecheck synccheck initcheck; do
  (
    timeout 125 compute-sanitizer --tool $tool --error-exitcode 9 python3 kernels/gpu/sanitized.py \
      > "$scratch/$tool.log" 2>&1
    echo "exit $?" >> "$scratch/$tool.log"
  ) &
done
say "tests"
timeout -s INT -k 5 130 python3 -m pytest tests/kernels/test_cuda.py -m "gpu and not slow" -q -p no:cacheprovider \
  -o filterwarnings=default --durations=8 --maxfail=40 --junitxml="$OUT/tests.xml" > "$OUT/tests.log" 2>&1
say "tests ended with $?"
tail -30 "$OUT/tests.log"
wait
for tool in memcheck racecheck synccheck initcheck; do
  echo "-- $tool: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|exit' "$scratch/$tool.log" | tr '\n' ' ')"
  head -c 300000 "$scratch/$tool.log" >> "$OUT/sanitizers.log"
done
say "end"
ls -la "$OUT"
