"""Table 1 of the FInC Flow paper: what one layer stores and computes, counted."""

from invconv.tables import main

if __name__ == "__main__":
    main("table1")
