"""Table 1 of the FInC Flow paper: what one layer stores and computes, counted."""

from invconv.tables.table1 import TABLE

if __name__ == "__main__":
    TABLE.main()
