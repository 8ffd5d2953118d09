"""Table 4 of the FInC Flow thesis: sampling with algorithm 1, algorithm 2 and our inverse.

A cell is one model of the table, (L, K) as published, sampling 1 or 100 images with all algorithms
interleaved. The weights are random, as initialized: only time is measured.
"""

from invconv.tables import main

if __name__ == "__main__":
    main("table4")
