"""Invertible convolutions for normalizing flows behind one interface, one solver and one clock."""

import lazy_loader

_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: most commands do without torch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("invconv")
    return _attribute(name)
