"""One file per published layer."""

from invconv.layers.cinc import CInC
from invconv.layers.emerging import Emerging
from invconv.layers.finc import FInC
from invconv.layers.glow import Glow1x1
from invconv.layers.inverse_flow import InverseFlow
from invconv.layers.triangular import TriangularConv

__all__ = ["CInC", "Emerging", "FInC", "Glow1x1", "InverseFlow", "TriangularConv"]
