"""The most that one triangular convolution can do, in closed form."""

from invconv.tables import main

if __name__ == "__main__":
    main("linear")
