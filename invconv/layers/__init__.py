"""One file per published layer, imported in the order in which pages show them."""

# isort: off
from invconv.layers.triangular import TriangularConv as TriangularConv
from invconv.layers.glow import Glow1x1 as Glow1x1
from invconv.layers.finc import FInC as FInC
from invconv.layers.emerging import Emerging as Emerging
from invconv.layers.cinc import CInC as CInC
from invconv.layers.inverse_flow import InverseFlow as InverseFlow
from invconv.layers.woodbury import Woodbury as Woodbury, MEWoodbury as MEWoodbury
from invconv.layers.periodic import Periodic as Periodic
from invconv.layers.macow import MaCow as MaCow
from invconv.layers.butterfly import Butterfly as Butterfly
from invconv.layers.cayley import Cayley as Cayley
from invconv.layers.exponential import ConvExponential as ConvExponential
from invconv.layers.skew import SkewExponential as SkewExponential
from invconv.layers.snf import SelfNormalizingConv as SelfNormalizingConv
from invconv.layers.mintnet import MintNetPair as MintNetPair
# isort: on
