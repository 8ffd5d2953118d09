"""Bits per dimension of every method over several seeds, in one narrow, shallow flow.

`preset=ranked` is the study: Fashion-MNIST and photographs, five seeds; it trains for hours and
resumes. `python -m invconv fetch fashion_mnist` comes first. `preset=long` trains three methods
four times as long.
"""

from invconv.tables import main

if __name__ == "__main__":
    main("ranking")
