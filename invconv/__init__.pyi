from . import data as data
from . import flows as flows
from . import integrations as integrations
from . import layers as layers
from . import solvers as solvers
from . import testing as testing
from . import training as training
from .assessing import assess as assess
from .conv import InvertibleConv as InvertibleConv
from .conv import available as available
from .conv import build as build
from .conv import register as register
from .layers import CInC as CInC
from .layers import Emerging as Emerging
from .layers import FInC as FInC
from .layers import Glow1x1 as Glow1x1
from .layers import InverseFlow as InverseFlow
from .layers import MaCow as MaCow
from .layers import MEWoodbury as MEWoodbury
from .layers import Periodic as Periodic
from .layers import TriangularConv as TriangularConv
from .layers import Woodbury as Woodbury
from .numerical import NumericalError as NumericalError
from .solvers import solve_triangular_conv2d as solve_triangular_conv2d
from .solvers import triangular_conv2d as triangular_conv2d
from .tables.table import results as results

__version__: str
