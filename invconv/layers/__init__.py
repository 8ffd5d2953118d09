"""One file per published layer."""

from invconv.layers.finc import FInC
from invconv.layers.glow import Glow1x1

__all__ = ["FInC", "Glow1x1"]
