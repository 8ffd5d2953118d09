"""One file per published layer."""

from invconv.layers.finc import FInC
from invconv.layers.glow import Glow1x1
from invconv.layers.macow import MaCow
from invconv.layers.periodic import Periodic
from invconv.layers.woodbury import MEWoodbury, Woodbury

__all__ = ["FInC", "Glow1x1", "MEWoodbury", "MaCow", "Periodic", "Woodbury"]
