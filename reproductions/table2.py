"""Table 2 of the FInC Flow paper: bits per dimension, forward time and sampling time.

    python reproductions/table2.py -m                        every method on the embedded data
    python reproductions/table2.py -m method=finc dataset=digits
    python reproductions/table2.py -m preset=embedded_long   several seeds, thousands of steps
    python reproductions/table2.py -m preset=paper_timing    FT and ST at the published sizes
    python reproductions/table2.py -m launch=slurm           every cell a job, see slurm/
    torchrun --nproc-per-node=8 reproductions/table2.py preset=paper dataset=cifar10 method=finc

A finished cell is skipped (``force=true`` measures it again). The rows go to
``results/data/table2.csv``, the page made from them is ``results/table2.md``.
"""

import sys

from invconv.sweeps.application import run
from invconv.tables.table2 import TABLE

if __name__ == "__main__":
    sys.exit(run(TABLE))
