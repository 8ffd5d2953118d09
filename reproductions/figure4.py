"""Figure 4 of the FInC Flow paper: sampling time against image size and batch.

    python reproductions/figure4.py -m method=finc size=128x128 batches=[128]

A cell is one flow, (L, K) = (2, 10) with random weights, on two-channel input of one size. A size
such as rgb-32x32 is the older run's model, (2, 16) on three channels, sampling 100 images.
"""

from invconv.tables.figure4 import TABLE

if __name__ == "__main__":
    TABLE.main()
