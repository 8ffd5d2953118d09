"""Table 1 of the FInC Flow paper: what one layer stores and computes, counted."""

import sys

from invconv.sweeps.application import run
from invconv.tables.table1 import TABLE

if __name__ == "__main__":
    sys.exit(run(TABLE))
