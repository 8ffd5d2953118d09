"""What a flow needs around an invertible convolution."""

from invconv.flows.actnorm import ActNorm
from invconv.flows.coupling import AffineCoupling, CouplingNetwork, PlainSplit, QuadCoupling, Split
from invconv.flows.dequantization import UniformDequantization
from invconv.flows.macow_fg import MaCowFG
from invconv.flows.multiscale import LevelFlow, MultiScaleFlow
from invconv.flows.spline import SplineActivation
from invconv.flows.squeeze import Squeeze

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "CouplingNetwork",
    "LevelFlow",
    "MaCowFG",
    "MultiScaleFlow",
    "PlainSplit",
    "QuadCoupling",
    "SplineActivation",
    "Split",
    "Squeeze",
    "UniformDequantization",
]
