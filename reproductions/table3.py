"""Table 3 of the FInC Flow paper: FInC and MaCow with as many parameters, on 32×32 RGB images.

The weights are random, as initialized: only time is measured.
"""

from invconv.tables.table3 import TABLE

if __name__ == "__main__":
    TABLE.main()
