"""The clock: what is verified before it is timed, blocks of calls, and ratios with intervals."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
