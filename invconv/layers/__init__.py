"""One file per published layer."""

from invconv.layers.cinc import CInC
from invconv.layers.emerging import Emerging
from invconv.layers.finc import FInC
from invconv.layers.glow import Glow1x1
from invconv.layers.inverse_flow import InverseFlow
from invconv.layers.macow import MaCow
from invconv.layers.periodic import Periodic
from invconv.layers.triangular import TriangularConv
from invconv.layers.woodbury import MEWoodbury, Woodbury

__all__ = [
    "CInC",
    "Emerging",
    "FInC",
    "Glow1x1",
    "InverseFlow",
    "MEWoodbury",
    "MaCow",
    "Periodic",
    "TriangularConv",
    "Woodbury",
]
