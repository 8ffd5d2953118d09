"""What figures look like, whatever matplotlibrc their author has."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain() -> Iterator[None]:
    """Inside, figures are drawn and written with matplotlib's own defaults, and repeatably.

    Your matplotlibrc may ask for LaTeX or other sizes; a page has to come out alike everywhere.
    """
    import matplotlib.style  # not at the top: every job of a sweep would load it

    with matplotlib.style.context(["default", {"svg.hashsalt": "invconv"}]):
        yield
