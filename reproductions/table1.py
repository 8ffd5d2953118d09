"""Table 1 of the FInC Flow paper: what one layer stores and computes, counted.

    python reproductions/table1.py -m
    python reproductions/table1.py -m channels=48 n=16 method=emerging

The rows go to ``results/data/table1.csv``, the page made from them is ``results/table1.md``.
"""

import sys

from invconv.sweeps.application import run
from invconv.tables.table1 import TABLE

if __name__ == "__main__":
    sys.exit(run(TABLE))
