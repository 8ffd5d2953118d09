"""What makes our inverse of a FInC layer faster than the released loop, one change at a time."""

from invconv.tables import main

if __name__ == "__main__":
    main("ladder")
