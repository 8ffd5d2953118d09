"""Table 2 of the FInC Flow paper: bits per dimension, forward time and sampling time."""

import sys

from invconv.sweeps.application import run
from invconv.tables.table2 import TABLE

if __name__ == "__main__":
    sys.exit(run(TABLE))
