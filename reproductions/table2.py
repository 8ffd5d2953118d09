"""Table 2 of the FInC Flow paper: bits per dimension, forward time and sampling time."""

from invconv.tables.table2 import TABLE

if __name__ == "__main__":
    TABLE.main()
