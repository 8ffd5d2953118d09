#!/bin/bash
# Prepares .gpu/ before a machine with an H200 is used: about 5 minutes on 2 cores.
#
#     bash kernels/gpu/prepare.sh          in the root of the repository
#
# .gpu/ is ignored and takes about 6 MB: an extension for Python 3.12, machine code for sm_90, and
# the commit. Repeat it after any change of a .cuh, since the code's names hash the text.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-.venv/bin/python} # the project's environment, with NVRTC 13.0
py312=${PYTHON312:-$(command -v python3.12 || ls ~/.pyenv/versions/3.12*/bin/python3.12 | tail -1)}
exclude=$(git rev-parse --git-path info/exclude)
grep -qx '/.gpu/' "$exclude" || echo '/.gpu/' >> "$exclude"
mkdir -p .gpu
git rev-parse --short=10 HEAD > .gpu/commit
# the extension for the GPU machine's Python 3.12; glibc here must not be newer than there
work=$(mktemp -d)
"$py312" -m venv "$work/venv"
"$work/venv/bin/pip" install -q scikit-build-core nanobind cmake ninja 2> /dev/null
"$work/venv/bin/pip" wheel -q --no-deps --no-build-isolation -w "$work" . 2> /dev/null
unzip -o -j -q "$work"/invconv-*.whl 'invconv/solvers/_compiled*.so' -d .gpu
# machine code for sm_90 by the NVRTC that torch 2.11.0+cu130 brings
INVCONV_CACHE=$work/kernels OMP_NUM_THREADS=1 "$python" "$here/precompile.py"
rm -f "$work"/kernels/*.lock
tar -C "$work" -czf .gpu/kernels.tgz kernels
rm -rf "$work"
ls -la .gpu
git status --short | head
