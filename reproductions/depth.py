"""What deep flows lose in float32, before, during and after training.

`preset=trained` is the study: FInC and Emerging with 4 to 32 steps per level on Fashion-MNIST
(`python -m invconv fetch fashion_mnist`); it trains for about two hours.
"""

from invconv.tables import main

if __name__ == "__main__":
    main("depth")
