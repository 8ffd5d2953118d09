"""Woodbury transformations: low-rank updates of the identity along channels and pixels."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from invconv.cache import EvalCache
from invconv.conv import InvertibleConv, Shape, log_det_dtype, register
from invconv.numerical import solved
from invconv.validation import check_choice, check_count, check_shape

INVERSE_METHODS = ("auto", "published")
Terms = tuple[Tensor, ...]
"""A matrix M of shape (size, size), or U and V of shapes (size, d) and (d, size) for I + U·V."""


class LowRankUpdate(nn.Module):
    """The matrix I + U·V, whose determinant and inverse need the rank×rank matrix I + V·U alone.

    det(I + U·V) = det(I + V·U) (Sylvester), (I + U·V)⁻¹ = I − U·(I + V·U)⁻¹·V (Woodbury). Where
    the rank is at least half the size, the product is written out: one matrix product instead of
    two. Initialised as released: N(0, 0.01²).

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

    def log_abs_det(self) -> Tensor:
        """log|det(I + U·V)|, a float64 scalar."""
        return self._cache.get("log_abs_det", (self.u, self.v), self.training, self._log_abs_det)

    def _log_abs_det(self) -> Tensor:
        return torch.linalg.slogdet(self._capacitance(torch.float64)).logabsdet

    def _capacitance(self, dtype: torch.dtype) -> Tensor:
        identity = torch.eye(len(self.v), dtype=dtype, device=self.v.device)
        return identity + self.v.to(dtype) @ self.u.to(dtype)

    def terms(self, inverse: bool) -> Terms:
        """What `multiply_left` and `multiply_right` take for I + U·V or for its inverse.

        Either the whole (size, size) matrix, or the two factors of what it adds to the identity.
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
        return (torch.eye(size, dtype=u.dtype, device=u.device) + u @ v,)

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
    batched = [term.expand(len(x), -1, -1) for term in terms]  # `@` would copy x for a Parameter
    if len(batched) == 1:
        return torch.bmm(batched[0], x)
    u, v = batched
    return torch.baddbmm(x, u, torch.bmm(v, x))


def multiply_right(x: Tensor, terms: Terms) -> Tensor:
    """x·M over the last dimension of x, (…, size)."""
    if len(terms) == 1:
        return x @ terms[0]
    u, v = terms
    rows = x.reshape(-1, x.shape[-1])
    return torch.addmm(rows, rows @ u, v).view_as(x)


class _LowRankConv(InvertibleConv):
    """The identity plus a low-rank update along each of several axes, which all commute."""

    solve_direction = "inverse"

    def __init__(self, shape: Shape, inverse_method: str) -> None:
        super().__init__(check_shape(shape)[0])
        self.shape = check_shape(shape)
        self.inverse_method = check_choice(inverse_method, INVERSE_METHODS, "inverse_method")

    @classmethod
    def from_shape(cls, shape: Shape, **options: Any) -> Self:
        """Builds the layer for images of ``shape`` = (C, H, W), and for no other."""
        return cls(shape, **cls.known_options(options))

    @abstractmethod
    def _multiply(self, x: Tensor, terms: Callable[[LowRankUpdate], Terms]) -> Tensor:
        """x, (B, C, H, W), times the matrix that ``terms`` gives for each update."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and the sum over the axes of C·H·W / size · log|det(I + V·U)|."""
        self._check_shape(x, "x")
        z = self._multiply(x, lambda update: update.terms(inverse=False))
        numel = math.prod(self.shape)
        log_det = sum(numel // len(part.u) * part.log_abs_det() for part in self._updates())
        return z, torch.as_tensor(log_det).to(log_det_dtype(x)).repeat(len(x))

    def inverse(self, z: Tensor, *, check: bool = False) -> Tensor:
        """x, by the same products as the forward pass with other factors."""
        self._check_shape(z, "z")
        published = self.inverse_method == "published"
        x = self._multiply(
            z, lambda part: part.published_terms() if published else part.terms(inverse=True)
        )
        if check:
            self.check_inverse(x, z)
        return x

    def solver(self, device: torch.device) -> str:
        """Whether the small inverse is kept ("capacitance") or made anew in every call."""
        return "published" if self.inverse_method == "published" else "capacitance"

    def _updates(self) -> list[LowRankUpdate]:
        return [part for part in self.children() if isinstance(part, LowRankUpdate)]

    def _check_shape(self, x: Tensor, name: str) -> None:
        self.check_input(x, name)
        if tuple(x.shape[1:]) != self.shape:
            channels, height, width = self.shape
            raise ValueError(
                f"{name} must have shape (B, {channels}, {height}, {width}): this layer has "
                f"parameters for every pixel and was built for that size, not for "
                f"{x.shape[2]}×{x.shape[3]}"
            )


@register("woodbury")
class Woodbury(_LowRankConv):
    """The Woodbury transformation of Lu and Huang (arXiv 2002.12229, section 3).

    z = (I + U_c·V_c)·X·(I + U_s·V_s) for X of shape (C, H·W): every channel sees all others, and
    every pixel sees all others. log_det and inverse follow from determinants and inverses of
    d×d matrices.

    Args:
        shape: (C, H, W) of the images.
        channel_rank: d_c.
        spatial_rank: d_s; the paper and the released code use 16 for both.
        inverse_method: "auto", or "published" for the released algorithm, which inverts the d×d
            matrices anew in each call.

    Raises:
        ValueError: for a shape that is not (C, H, W), ranks below 1 or an unknown method.

    >>> import torch
    >>> from invconv import Woodbury
    >>> layer = Woodbury((3, 8, 8), channel_rank=2)
    >>> z, log_det = layer(torch.randn(2, 3, 8, 8))
    >>> layer.inverse(z).shape, log_det.shape
    (torch.Size([2, 3, 8, 8]), torch.Size([2]))
    """

    def __init__(
        self,
        shape: Shape,
        channel_rank: int = 16,
        spatial_rank: int = 16,
        inverse_method: str = "auto",
    ) -> None:
        super().__init__(shape, inverse_method)
        channels, height, width = self.shape
        self.channel = LowRankUpdate(channels, channel_rank)
        self.spatial = LowRankUpdate(height * width, spatial_rank)

    def _multiply(self, x: Tensor, terms: Callable[[LowRankUpdate], Terms]) -> Tensor:
        y = multiply_right(x.flatten(2), terms(self.spatial))
        return multiply_left(terms(self.channel), y).view(x.shape)


@register("me_woodbury")
class MEWoodbury(_LowRankConv):
    """The memory-efficient Woodbury transformation of Lu and Huang (arXiv 2002.12229, section 3).

    The spatial update of `Woodbury`, 2·d·H·W numbers, is replaced by one along the width and one
    along the height, 2·d·(H + W) numbers.

    Args:
        shape: (C, H, W) of the images.
        channel_rank, height_rank, width_rank: d_c, d_h and d_w, 16 as released.
        inverse_method: "auto" or "published", as in `Woodbury`.

    Raises:
        ValueError: for a shape that is not (C, H, W), ranks below 1 or an unknown method.

    >>> import torch
    >>> from invconv import MEWoodbury, Woodbury
    >>> def numbers(layer):
    ...     return sum(parameter.numel() for parameter in layer.parameters())
    >>> numbers(Woodbury((3, 32, 32))), numbers(MEWoodbury((3, 32, 32)))
    (32864, 2144)
    """

    def __init__(
        self,
        shape: Shape,
        channel_rank: int = 16,
        height_rank: int = 16,
        width_rank: int = 16,
        inverse_method: str = "auto",
    ) -> None:
        super().__init__(shape, inverse_method)
        channels, height, width = self.shape
        self.channel = LowRankUpdate(channels, channel_rank)
        self.height = LowRankUpdate(height, height_rank)
        self.width = LowRankUpdate(width, width_rank)

    def _multiply(self, x: Tensor, terms: Callable[[LowRankUpdate], Terms]) -> Tensor:
        _, channels, height, width = x.shape
        y = multiply_right(x, terms(self.width)).reshape(-1, height, width)
        y = multiply_left(transpose(terms(self.height)), y).view(-1, channels, height * width)
        return multiply_left(terms(self.channel), y).view(x.shape)
