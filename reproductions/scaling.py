"""Forward and inverse time of one FInC layer against image size n and kernel size k.

    python reproductions/scaling.py -m
    python reproductions/scaling.py -m point=n16,k5 channels=24

A point is ``n<size>`` at k = 3 or ``k<size>`` at n = 32. Torch's forwards and ours are timed
interleaved, the slow inverses in a block of their own. The rows go to
``results/data/scaling.csv``, the page made from them is ``results/scaling.md``.
"""

import sys

from invconv.sweeps.application import run
from invconv.tables.scaling import TABLE

if __name__ == "__main__":
    sys.exit(run(TABLE))
