"""Table 3 of the FInC Flow paper: FInC and MaCow with as many parameters, on 32×32 RGB images.

The weights are random, as initialized: only time is measured.
"""

from invconv.tables import main

if __name__ == "__main__":
    main("table3")
