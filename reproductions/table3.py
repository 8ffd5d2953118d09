"""Table 3 of the FInC Flow paper: FInC and MaCow with as many parameters, on 32×32 RGB images.

    python reproductions/table3.py -m                  reduced width of the couplings
    python reproductions/table3.py -m preset=paper     as published
    python reproductions/table3.py -m flow=finc_k28 width=512 images=10

The weights are random, as initialized: only time is measured. The rows go to
``results/data/table3.csv``, the page made from them is ``results/table3.md``.
"""

import sys

from invconv.sweeps.application import run
from invconv.tables.table3 import TABLE

if __name__ == "__main__":
    sys.exit(run(TABLE))
