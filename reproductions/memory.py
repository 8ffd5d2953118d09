"""Memory and time of a training step: activations kept, made by inverses, or by checkpointing.

A cell is one flow at the published width whose steps are timed in every way in one block, or, with
preset=trained, a training on digits with activations kept or not.
"""

from invconv.tables import main

if __name__ == "__main__":
    main("memory")
