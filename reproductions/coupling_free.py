"""Flows without couplings: table 1 of Self Normalizing Flows, and bits per dimension against k.

On Fashion-MNIST (`python -m invconv fetch fashion_mnist`), or `dataset=mnist` where its files are
at hand. `preset=grid` is the study: every method and kernel size, three seeds; it trains for hours
and resumes. `preset=long` trains two methods for ten epochs.
"""

from invconv.tables import main

if __name__ == "__main__":
    main("coupling_free")
