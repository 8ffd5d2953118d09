"""Rows: what a measurement leaves behind, where it comes from, and where it is kept.

Names are imported when they are first asked for: listing cells needs neither torch nor pandas.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
