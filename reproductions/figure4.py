"""Figure 4 of the FInC Flow paper: sampling time against image size and batch.

    python reproductions/figure4.py -m methods=[glow,finc] size=128x128 batches=[128]

A cell is one size: flows of all methods in one block, (L, K) = (2, 10) with random weights, on
two-channel input. A size
such as rgb-32x32 is the older run's model, (2, 16) on three channels, sampling 100 images.
"""

from invconv.tables import main

if __name__ == "__main__":
    main("figure4")
