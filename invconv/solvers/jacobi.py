"""Jacobi's iteration in plain torch: convolutions alone, until nothing changes any more."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from invconv.solvers.convolution import convolve_torch
from invconv.solvers.problem import Problem
from invconv.solvers.wavefront import fold_anchor


def solve_jacobi(z: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Repeats x ← A0⁻¹z − A0⁻¹(W − A0)·x, at most `most_iterations` times.

    It stops once x does not change, which takes a look at values after each iteration. Half
    precision is computed in float32. Where the iterates overflow on their way the result is not
    finite, even if x is.
    """
    dtype = torch.promote_types(z.dtype, torch.float32)
    if not z.numel():
        return torch.empty_like(z)
    inverse, folded = fold_anchor(weight, problem)
    most = _most(folded, problem, (z.shape[2], z.shape[3]), dtype)
    taps = folded.to(dtype).reshape(weight.shape)
    square = inverse.to(dtype).reshape(weight.shape[0], -1, 1, 1)
    x = y = F.conv2d(z.to(dtype), square, groups=problem.groups)
    for _ in range(most):
        before, x = x, y + convolve_torch(x, taps, problem)
        if torch.equal(x, before):
            break
    return x.to(weight.dtype).contiguous()


def most_iterations(
    weight: Tensor, problem: Problem, size: tuple[int, int], dtype: torch.dtype
) -> int:
    """How many iterations are enough for images of ``size`` = (H, W), known beforehand.

    After m of them the error is N^(m+1)·x with N = A0⁻¹(A0 − W). It is zero from the number of
    dependent steps on, as N looks back along the wavefront, and at most ρ^(m+1)·max|x| with
    ρ = max over output channels of Σ|N|: below a quarter of the rounding of ``dtype`` after
    log(eps/4)/log(ρ) − 1 iterations where ρ < 1.
    """
    return _most(fold_anchor(weight, problem)[1], problem, size, dtype)


def _most(folded: Tensor, problem: Problem, size: tuple[int, int], dtype: torch.dtype) -> int:
    exact = problem.steps(*size, folded.shape[-1]) - 1
    rate = folded.abs().sum((2, 3, 4)).max().item()
    if rate == 0:
        return 0
    if not rate < 1:
        return exact
    small = math.log(torch.finfo(dtype).eps / 4)
    return min(exact, math.ceil(small / math.log(rate)) - 1)
