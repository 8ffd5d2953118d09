#!/bin/bash
# B: how fast is it? About 340 s, after run_a.sh, in the same copy of the repository.
#
#     bash kernels/gpu/run_b.sh            writes into $OUT: hot.json, rows.tgz, ncu.csv
set -u
scratch=$(dirname "$(mktemp -u)")
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1 INVCONV_CACHE=$scratch/kernels INVCONV_COMMIT=$(cat .gpu/commit)
export INVCONV_MACHINE="1x NVIDIA H200, 16 cores" PATH=$PATH:/usr/local/cuda/bin
OUT=${OUT:-$scratch/out}
mkdir -p "$OUT"
start=$SECONDS
say() { echo "== $((SECONDS - start)) s: $*"; }
[ -d "$scratch/kernels" ] || tar -C "$scratch" -xzf .gpu/kernels.tgz
cp .gpu/_compiled*.so invconv/solvers/
if ! python3 -c "from invconv.solvers import compiled; assert compiled.extension(), compiled._reason"; then
  python3 -m pip install -q --no-deps --no-build-isolation --no-index --target "$scratch/site" . &&
    cp "$scratch"/site/invconv/solvers/_compiled*.so invconv/solvers/
fi
collect() { tar -C "$scratch" -czf "$OUT/rows.tgz" gpu-rows 2> /dev/null; }
trap collect EXIT
say "hot" # the device's own times, about 25 s
timeout 50 python3 kernels/gpu/hot.py "$OUT/hot.json" > "$OUT/hot.log" 2>&1
tail -40 "$OUT/hot.log"
say "bench" # rows: the most wanted cells come first, and each is written when it ends
timeout -s INT -k 5 225 python3 -m invconv bench gpu --out "$scratch/gpu-rows" --seconds 200 2>&1 | tee "$OUT/bench.log"
collect
say "profile" # counters of three kernels, about 30 s
cat > "$scratch/three.py" <<'PY'
import torch

from invconv import solve_triangular_conv2d
from invconv.solvers.problem import CORNERS

for c, n, b in ((3, 16, 100), (12, 4, 100), (12, 32, 100)):
    weight = 0.05 * torch.randn(4 * c, c, 3, 3, device="cuda")
    weight[:, :, 2, 2] = torch.eye(c, device="cuda").repeat(4, 1)
    solve_triangular_conv2d(torch.randn(b, 4 * c, n, n, device="cuda"), weight, corners=CORNERS)
torch.cuda.synchronize()
PY
if command -v ncu > /dev/null; then
  timeout 40 ncu --clock-control none -k regex:solve --section SpeedOfLight --section WarpStateStats \
    --section LaunchStats --section Occupancy --section MemoryWorkloadAnalysis --section SourceCounters \
    --csv --page raw python3 "$scratch/three.py" > "$OUT/ncu.csv" 2> "$scratch/ncu.err"
  head -c 400 "$scratch/ncu.err"
  python3 - "$OUT/ncu.csv" <<'PY'
import csv
import sys

WANTED = (
    "gpu__time_duration.sum",
    "launch__registers_per_thread",
    "launch__occupancy_limit",
    "smsp__average_warps_issue_stalled_long_scoreboard",
    "smsp__average_warps_issue_stalled_barrier",
    "smsp__average_warps_issue_stalled_short_scoreboard",
    "sm__throughput.avg",
    "l1tex__data_bank_conflicts",
)
with open(sys.argv[1]) as file:
    rows = list(csv.reader(line for line in file if line.startswith('"')))
for i, name in enumerate(rows[0] if rows else []):
    if any(wanted in name for wanted in WANTED):
        print(name, [row[i] for row in rows[2:]])
PY
fi
say "end"
collect
ls -la "$OUT"
