"""One triangular convolution as a layer: what most published ones are made of."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.cache import EvalCache
from invconv.conv import for_each_image
from invconv.layers.fitted import fitted
from invconv.layers.solved import SolvedConv
from invconv.modes import is_autocast
from invconv.solvers.kept import Kept
from invconv.solvers.operator import needs_formulas
from invconv.solvers.problem import Problem, keep_structure, parse_anchor, parse_corners
from invconv.solvers.solve import run_problem
from invconv.validation import check_choice, check_kernel_size

DIAGONALS = ("unit", "learned")
INITS = ("random", "data")
GAIN = 0.25
"""How much random taps of std = "fan_in" amplify; FInC's as released do so on 12 channels."""


class TriangularConv(SolvedConv):
    """A triangular convolution with its constrained kernel, `invconv.triangular_conv2d`.

    The diagonal of the anchor tap is 1, so that log_det is 0 exactly, or exp of a free
    parameter with a fixed sign, so that log_det = H·W·Σ log|diagonal|.

    Args:
        channels: C.
        kernel: (kh, kw), the stored taps.
        corners: the corner from which all channels run, or one per group.
        anchor: the tap that meets the current pixel, as in `triangular_conv2d`.
        upper: whether the anchor tap is upper triangular in channels.
        diagonal: "unit" or "learned".
        std: the standard deviation of the initial taps, and of a learned diagonal around 1;
            "fan_in": `GAIN` / √(taps of an output channel), so that what an inverse amplifies
            does not depend on C and k.
        bias: whether to add one free number per channel.
        init: "random", or "data": `initialize` sets the taps that leave the least variance of
            each channel, in closed form, see `invconv.layers.optimal`.
        inverse_method: how the system is solved, a ``method`` of `solve_triangular_conv2d`, or
            "published" for the paper's algorithm.
        max_growth: g > 1 to keep the ∞-norm of the inverse at most g / min|diagonal|, whatever
            the free parameter: the other taps of an output channel are scaled down where their
            absolute values add up to more than s = 1 − 1/g of its diagonal. (D(I + N) with
            ‖N‖ ≤ s has an inverse of norm at most ‖D⁻¹‖ / (1 − s).) None for no bound.

    Attributes:
        weight: the free parameter, (C, C/G, kh, kw), with the logarithm of a learned diagonal's
            absolute value in its place. Entries that the kernel does not use have zero gradient.
        sign: the fixed signs of a learned diagonal, (C,), as in Glow's PLU.
        shift: the bias, (C,), or None.

    Raises:
        TypeError: if a side of the kernel is no integer.
        ValueError: if C is not a multiple of the number of groups, a side of the kernel is below
            1, std is negative, max_growth not above 1, or the anchor or a choice is unknown.

    >>> import torch
    >>> from invconv import TriangularConv
    >>> layer = TriangularConv(4, kernel=(2, 3), corners=("tr", "bl"), diagonal="learned")
    >>> layer.weight.shape
    torch.Size([4, 2, 2, 3])
    >>> z, log_det = layer(torch.randn(2, 4, 8, 8))
    >>> layer.inverse(z, check=True).shape
    torch.Size([2, 4, 8, 8])
    """

    sign: Tensor
    initialized: Tensor

    def __init__(
        self,
        channels: int,
        kernel: tuple[int, int],
        *,
        corners: str | Sequence[str] = "tl",
        anchor: tuple[int, int] | None = None,
        upper: bool = False,
        diagonal: Literal["unit", "learned"] = "unit",
        std: float | Literal["fan_in"] = 0.05,
        bias: bool = False,
        inverse_method: str = "auto",
        max_growth: float | None = None,
        init: Literal["random", "data"] = "random",
    ) -> None:
        super().__init__(channels, inverse_method)
        self._from_data = check_choice(init, INITS, "init") == "data"
        if self._from_data:
            self.register_buffer("initialized", torch.tensor(False))
        groups = 1 if isinstance(corners, str) else max(1, len(corners))
        codes = parse_corners(corners, groups)
        for side in kernel:
            check_kernel_size(side)
        if std != "fan_in" and (isinstance(std, str) or not std >= 0):
            raise ValueError(f'std must be at least 0, or "fan_in", not {std}')
        if max_growth is not None and not 1 < max_growth < math.inf:
            raise ValueError(f"max_growth must be above 1 and finite, or None, not {max_growth}")
        if channels % groups:
            raise ValueError(
                f"{type(self).__name__} splits the channels into {groups} groups: channels must "
                f"be a multiple of {groups}, not {channels}"
            )
        self.kernel, self.corners, self.upper, self.bias = kernel, corners, upper, bias
        self.max_growth = max_growth
        self.anchor = parse_anchor(anchor, *kernel)
        self._problem = Problem(self.anchor, codes, upper)
        self.diagonal = check_choice(diagonal, DIAGONALS, "diagonal")

        per_group = channels // groups
        row, column = self.anchor
        fan_in = (row * kernel[1] + column) * per_group + (per_group - 1) / 2
        scale = GAIN / max(1.0, fan_in) ** 0.5 if isinstance(std, str) else std
        taps = scale * torch.randn(channels, per_group, *kernel)
        initial = self._diagonal_of(taps)
        if diagonal == "learned":
            self.register_buffer("sign", (1 + initial).sign())
        taps = taps - self._at_anchor(initial) + self._at_anchor((1 + initial).abs().log())
        self.weight = nn.Parameter(taps)
        self.shift = nn.Parameter(torch.zeros(channels)) if bias else None
        self._cache = EvalCache()

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """With ``init="data"``, set the taps that leave least of ``x``; otherwise do nothing.

        A learned diagonal gives each channel of z the variance 1. Nothing happens if it was called
        before; the flag is part of the state_dict.

        Args:
            x: (B, C, H, W), of which a mean for each channel is removed.

        Raises:
            ValueError: if there are no values, or some are not finite.
        """
        self.check_input(x)
        if not self._from_data or self.initialized:
            return
        taps, variance = fitted(x, self._problem, self.kernel)
        stored = torch.zeros_like(variance)
        if self.diagonal == "learned":
            scale = variance.clamp(min=torch.finfo(x.dtype).tiny).rsqrt()
            taps, stored = taps * (scale * self.sign.cpu())[:, None, None, None], scale.log()
        self.weight.copy_(taps + self._at_anchor(stored - self._diagonal_of(taps)))
        self.initialized.fill_(True)

    def triangular_weight(self) -> Tensor:
        """The constrained kernel, (C, C/G, kh, kw), zero wherever it is not read."""
        return self._folded()[0]

    def _folded(self) -> tuple[Tensor, Tensor | float, Kept]:
        """The constrained kernel, Σ log|diagonal|, float64, and what solvers keep of it."""
        tensors = (self.weight, self.sign) if self.diagonal == "learned" else (self.weight,)
        return self._cache.get("weight", tensors, self.training, self._fold)

    def _fold(self) -> tuple[Tensor, Tensor | float, Kept]:
        unit = self.diagonal == "unit"
        return self._constrain(), 0.0 if unit else self._log_diagonal().double().sum(), Kept()

    def _constrain(self) -> Tensor:
        unit = self.diagonal == "unit"
        diagonal = torch.ones_like(self._log_diagonal()) if unit else self._log_diagonal().exp()
        taps = self._bounded(keep_structure(self.weight, self._problem, strict=True), diagonal)
        return taps + self._at_anchor(diagonal if unit else diagonal * self.sign)

    def _bounded(self, taps: Tensor, diagonal: Tensor) -> Tensor:
        if self.max_growth is None:
            return taps
        allowed = (1 - 1 / self.max_growth) * diagonal[:, None, None, None]
        total = taps.abs().sum((1, 2, 3), keepdim=True)
        small = total <= allowed  # both are 0 where exp underflows and there are no taps
        return taps * torch.where(small, 1.0, allowed / torch.where(small, 1.0, total))

    def _at_anchor(self, diagonal: Tensor) -> Tensor:
        """A kernel, (C, C/G, kh, kw), with this diagonal in its anchor tap and zeros elsewhere."""
        (kh, kw), (row, column) = self.kernel, self.anchor
        square = diagonal.view(self._problem.groups, -1).diag_embed().flatten(0, 1)
        return F.pad(square[:, :, None, None], (column, kw - 1 - column, row, kh - 1 - row))

    def _log_diagonal(self) -> Tensor:
        return self._diagonal_of(self.weight)

    def _diagonal_of(self, taps: Tensor) -> Tensor:
        row, column = self.anchor
        groups = taps[:, :, row, column].unflatten(0, (-1, taps.shape[1]))
        return groups.diagonal(dim1=1, dim2=2).flatten()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and log_det: zeros, or H·W·Σ log|diagonal|."""
        return self.convolve(x), self.log_det(x)

    def convolve(self, x: Tensor, overwrite: bool = False) -> Tensor:
        """z alone; with ``overwrite`` it may be written over x where no gradient is needed."""
        self.check_input(x)
        weight, _, kept = self._folded()
        out = x if overwrite and _can_be_written(x, weight) else None
        z = run_problem(x, weight, self._problem, inverse=False, out=out, kept=kept)
        if self.shift is None:
            return z
        shift = self.shift[:, None, None]
        return z + shift if needs_formulas(x, weight) else z.add_(shift)

    def log_det(self, x: Tensor) -> Tensor:
        """log|det dz/dx|, (B,); only the shape of ``x`` matters."""
        return for_each_image(x.shape[2] * x.shape[3] * self._folded()[1], x)

    def solve(self, z: Tensor, method: str, overwrite: bool = False) -> Tensor:
        """x, by one solve for all groups; ``overwrite`` as in `convolve`.

        Args:
            z: (B, C, H, W).
            method: of `solve_triangular_conv2d`.
        """
        y = z
        if self.shift is not None:
            y, overwrite = z - self.shift[:, None, None], True
        weight, _, kept = self._folded()
        out = y if overwrite and _can_be_written(y, weight) else None
        return run_problem(y, weight, self._problem, True, method, out, kept)

    def dependent_steps(self, height: int, width: int) -> int:
        """The wavefront's, slope·(H−1) + W."""
        return self._problem.steps(height, width, self.kernel[1])


def _can_be_written(x: Tensor, weight: Tensor) -> bool:
    promoted = x.itemsize < 4 and is_autocast(x.device)
    same = x.dtype == weight.dtype and not promoted
    return same and x.is_contiguous() and not needs_formulas(x, weight)
