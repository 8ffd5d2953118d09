"""What a flow needs around an invertible convolution."""

from invconv.flows.actnorm import ActNorm
from invconv.flows.conditional import ConditionalCouplings
from invconv.flows.conditional_macow import ConditionalMaCow
from invconv.flows.coupling import AffineCoupling, CouplingNetwork, PlainSplit, QuadCoupling, Split
from invconv.flows.coupling_free import CouplingFreeFlow
from invconv.flows.dequantization import UniformDequantization, VariationalDequantization
from invconv.flows.level_flow import LevelFlow
from invconv.flows.macow_fg import MaCowFG
from invconv.flows.mintnet import MintNet
from invconv.flows.multiscale import MultiScaleFlow
from invconv.flows.preprocessing import Logit, Scale
from invconv.flows.saving import build_flow, load
from invconv.flows.sequential import Sequential
from invconv.flows.spline import SplineActivation
from invconv.flows.squeeze import Squeeze

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "ConditionalCouplings",
    "ConditionalMaCow",
    "CouplingFreeFlow",
    "CouplingNetwork",
    "LevelFlow",
    "Logit",
    "MaCowFG",
    "MintNet",
    "MultiScaleFlow",
    "PlainSplit",
    "QuadCoupling",
    "Scale",
    "Sequential",
    "SplineActivation",
    "Split",
    "Squeeze",
    "UniformDequantization",
    "VariationalDequantization",
    "build_flow",
    "load",
]
