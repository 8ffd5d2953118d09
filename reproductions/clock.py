"""How often the clock's interval contains the truth: ten calls, each timed against itself.

The list of the pairs is in results/data/clock.csv.
"""

from invconv.tables import main

if __name__ == "__main__":
    main("clock")
