"""What a flow needs around an invertible convolution."""

from invconv.flows.actnorm import ActNorm
from invconv.flows.coupling import AffineCoupling, CouplingNetwork, QuadCoupling, Split
from invconv.flows.dequantization import UniformDequantization
from invconv.flows.multiscale import MultiScaleFlow
from invconv.flows.spline import SplineActivation
from invconv.flows.squeeze import Squeeze

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "CouplingNetwork",
    "MultiScaleFlow",
    "QuadCoupling",
    "SplineActivation",
    "Split",
    "Squeeze",
    "UniformDequantization",
]
