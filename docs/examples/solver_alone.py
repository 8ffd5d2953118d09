"""The solver alone: invert a triangular convolution, and learn through its inverse."""

import torch

from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.solvers import METHODS

torch.manual_seed(0)
x = torch.randn(16, 12, 32, 32, dtype=torch.float64)

# A kernel whose last tap meets the current pixel. Of that tap only the lower triangle is read.
weight = 0.05 * torch.randn(12, 12, 3, 3, dtype=torch.float64)
weight[:, :, -1, -1] = torch.eye(12)

z = triangular_conv2d(x, weight)
print(f"round trip: {(solve_triangular_conv2d(z, weight, check=True) - x).abs().max():.0e}")

# `method` chooses the code and never the result.
for name in ("wavefront", "compiled"):
    if reason := METHODS[name].missing(x.device):
        print(f"{name}: {reason}")
    else:
        again = solve_triangular_conv2d(z, weight, method=name)
        print(f"{name}: {(again - x).abs().max():.0e}")

# Gradients flow through the solve. Here gradient descent finds the kernel that made z from x,
# and sees nothing but the inverse.
guess = torch.zeros_like(weight)
guess[:, :, -1, -1] = torch.eye(12)
guess.requires_grad_()
optimizer = torch.optim.Adam([guess], lr=0.01)
losses = []
for _ in range(60):
    optimizer.zero_grad()
    loss = (solve_triangular_conv2d(z, guess) - x).square().mean()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"mean squared error: {losses[0]:.3f} at first, {losses[-1]:.6f} after 60 steps")
