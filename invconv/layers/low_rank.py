"""Low-rank updates of the identity, I + U·V: the matrices of the Woodbury transformations."""

import torch
from torch import Tensor, nn

from invconv.cache import EvalCache
from invconv.numerical import solved
from invconv.validation import check_count

Terms = tuple[Tensor, ...]
"""U·V of shape (size, size), or U and V of shapes (size, d) and (d, size), of M = I + U·V.

The identity is added to what they make of x: inside the product it would cost two to four times
the rounding error, as its terms are larger than the others by far.
"""


class LowRankUpdate(nn.Module):
    """The matrix I + U·V, whose determinant and inverse need the rank×rank matrix I + V·U alone.

    det(I + U·V) = det(I + V·U) (Sylvester), (I + U·V)⁻¹ = I − U·(I + V·U)⁻¹·V (Woodbury). Where
    the rank is at least half the size, the product is written out: one matrix product instead of
    two. Initialized as released: N(0, 0.01²).

    Args:
        size: the matrix is (size, size).
        rank: d, at least 1.
    """

    def __init__(self, size: int, rank: int) -> None:
        super().__init__()
        check_count(rank, "a rank")
        self.u = nn.Parameter(0.01 * torch.randn(size, rank))
        self.v = nn.Parameter(0.01 * torch.randn(rank, size))
        self._cache = EvalCache()

    def log_abs_det(self) -> Tensor | float:
        """log|det(I + U·V)|, a float64 scalar, or a number where it is kept (`EvalCache`)."""
        return self._cache.get("log_abs_det", (self.u, self.v), self.training, self._log_abs_det)

    def _log_abs_det(self) -> Tensor:
        return torch.linalg.slogdet(self._capacitance(torch.float64)).logabsdet

    def _capacitance(self, dtype: torch.dtype) -> Tensor:
        identity = torch.eye(len(self.v), dtype=dtype, device=self.v.device)
        return identity + self.v.to(dtype) @ self.u.to(dtype)

    def terms(self, inverse: bool) -> Terms:
        """What `multiply_left` and `multiply_right` take for I + U·V or for its inverse.

        Either what it adds to the identity, (size, size), or the two factors of that.
        The inverse is computed in float64, and kept in eval mode while gradients are off.
        """
        name = "inverse" if inverse else "forward"
        return self._cache.get(name, (self.u, self.v), self.training, lambda: self._terms(inverse))

    def _terms(self, inverse: bool) -> Terms:
        u: Tensor = self.u
        v: Tensor = self.v
        if inverse:
            small = self._capacitance(torch.float64)
            v = -solved("I + V·U", torch.linalg.solve, small, v.double()).to(u.dtype)
        size, rank = u.shape
        if 2 * rank < size:
            return u, v
        return (u @ v,)

    def published_terms(self) -> tuple[Tensor, Tensor]:
        """The inverse's factors as released: an `inverse` of I + V·U in the parameters' dtype.

        In float32 for half precision, which cannot be inverted.
        """
        dtype = torch.promote_types(self.u.dtype, torch.float32)
        inverse = solved("I + V·U", torch.linalg.inv, self._capacitance(dtype))
        return -self.u @ inverse.to(self.u.dtype), self.v


def transpose(terms: Terms) -> Terms:
    """The terms of the transposed matrix."""
    return tuple(term.T for term in reversed(terms))


def multiply_left(terms: Terms, x: Tensor) -> Tensor:
    """M·x over the last but one dimension of x, (B, size, N)."""
    batched = [
        term.expand(x.shape[0], -1, -1) for term in terms
    ]  # `@` would copy x for a Parameter
    if len(batched) == 1:
        return torch.baddbmm(x, batched[0], x)
    u, v = batched
    return torch.baddbmm(x, u, torch.bmm(v, x))


def multiply_right(x: Tensor, terms: Terms) -> Tensor:
    """x·M over the last dimension of x, (…, size)."""
    rows = x.reshape(-1, x.shape[-1])
    if len(terms) == 1:
        return torch.addmm(rows, rows, terms[0]).view_as(x)
    u, v = terms
    return torch.addmm(rows, rows @ u, v).view_as(x)
