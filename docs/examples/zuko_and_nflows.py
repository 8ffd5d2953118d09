"""Our layers inside the flows of zuko and nflows: both give the same density.

It needs both: `pip install zuko nflows`.
"""

import torch
import zuko
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.transforms import CompositeTransform
from torch.distributions import Independent, Normal

import invconv
from invconv.flows import ActNorm, Sequential
from invconv.integrations import to_nflows, to_zuko

torch.manual_seed(0)
shape = (12, 8, 8)
x = torch.randn(4, *shape)
layers = [invconv.Emerging(12), ActNorm(12), invconv.FInC(12)]

# Ours: any bijections that do not split, in a row.
base = Independent(Normal(torch.zeros(shape), 1.0), 3)
ours = Sequential(*layers, base=base)
ours.initialize(x)  # the scale of ActNorm

# zuko: lazy transforms from data to latents.
normal = zuko.lazy.UnconditionalDistribution(
    zuko.distributions.DiagNormal, torch.zeros(shape), torch.ones(shape), buffer=True, ndims=3
)
in_zuko = zuko.lazy.Flow([to_zuko(layer) for layer in layers], normal)

# nflows: a composite transform from data to latents.
transform = CompositeTransform([to_nflows(layer) for layer in layers])
in_nflows = Flow(transform, StandardNormal(shape))

densities = [ours.log_prob(x), in_zuko().log_prob(x), in_nflows.log_prob(x)]
for name, density in zip(("invconv", "zuko", "nflows"), densities, strict=True):
    print(f"{name:8} log p of the first image: {density[0].item():.4f}")

# All three hold the same parameters: one step of any optimizer changes all three.
(-in_zuko().log_prob(x).mean()).backward()
print("gradients for", sum(one.grad is not None for one in ours.parameters()), "parameters")
print("samples of zuko", tuple(in_zuko().sample((2,)).shape))
print("samples of nflows", tuple(in_nflows.sample(2).shape))
