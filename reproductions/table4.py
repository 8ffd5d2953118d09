"""Table 4 of the FInC Flow thesis: sampling with algorithm 1, algorithm 2 and our inverse.

    python reproductions/table4.py -m                  reduced width of the couplings
    python reproductions/table4.py -m preset=paper     as published
    python reproductions/table4.py -m size=mnist images=1 width=512

A cell is one model of the table, (L, K) as published, sampling 1 or 100 images with all algorithms
interleaved. The weights are random, as initialized: only time is measured. The rows go to
``results/data/table4.csv``, the page made from them is ``results/table4.md``.
"""

import sys

from invconv.sweeps.application import run
from invconv.tables.table4 import TABLE

if __name__ == "__main__":
    sys.exit(run(TABLE))
