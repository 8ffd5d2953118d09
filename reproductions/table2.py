"""Table 2 of the FInC Flow paper: bits per dimension, forward time and sampling time."""

from invconv.tables import main

if __name__ == "__main__":
    main("table2")
