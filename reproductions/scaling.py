"""Forward and inverse time of one FInC layer against image size n and kernel size k.

A point is ``n<size>`` at k = 3 or ``k<size>`` at n = 32, as in ``point=n16,k5``.
"""

from invconv.tables import main

if __name__ == "__main__":
    main("scaling")
