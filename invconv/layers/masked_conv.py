"""Masked convolutions that are autoregressive over rows or columns, and their fast inverse."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.cache import EvalCache
from invconv.layers.weight_norm import WeightNormConv2d
from invconv.modes import is_recording
from invconv.solvers.operator import needs_formulas

HIDDEN_VALUES_PER_PART = 2**20
"""How many hidden values of a batch the forward pass holds at a time, if gradients are off."""
PRODUCTS_PER_CONVOLUTION = 2**24
"""From this many multiplications a row is faster by `F.conv2d` than by a matrix product (CPU)."""


class MaskedConv(nn.Module):
    """One masked convolution: z = s·x + μ, with s and μ of a row from the rows before it.

    (μ, h) = 1×1 convolution of ELU of a convolution with the rows before, s = sigmoid(h + 2).

    Args:
        channels: C.
        order: "A" runs over rows downwards, "B" upwards, "C" over columns rightwards, "D"
            leftwards.
        kernel_size: how many rows before are seen, and how many columns of each, an odd number
            (for "C" and "D" columns and rows).
        hidden_channels: of the convolution.
    """

    def __init__(
        self, channels: int, order: str, kernel_size: tuple[int, int], hidden_channels: int
    ) -> None:
        super().__init__()
        self.order = order
        before, across = kernel_size
        self.before, self.side = before, across // 2
        shape = (before, across) if order in "AB" else (across, before)
        self.masked = WeightNormConv2d(channels, hidden_channels, shape)
        self.output = WeightNormConv2d(hidden_channels, 2 * channels)
        self._cache = EvalCache()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and Σ log s, (B,)."""
        if not x.shape[2] * x.shape[3]:  # torch convolves no images without pixels
            return x.clone(), x.new_zeros(x.shape[0])
        weights = self._cached("weights", self._weights)
        if torch.is_grad_enabled() or is_recording():
            return self._forward(x, weights)
        hidden_values = len(weights[0]) * x.shape[2] * x.shape[3]
        size = max(1, HIDDEN_VALUES_PER_PART // hidden_values)
        z, log_det = zip(*(self._forward(part, weights) for part in x.split(size)), strict=True)
        return (torch.cat(z), torch.cat(log_det)) if len(z) > 1 else (z[0], log_det[0])

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Data-dependent initialization: normalized hidden activations, then an output of zero."""
        before = self.pad(x)
        self.masked.initialize(before)
        self.output.initialize(F.elu(self.masked(before)), std=0.0)

    def _forward(self, x: Tensor, weights: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        shift, logit = self._shift_and_logit(self.pad(x), weights)
        z = torch.addcmul(shift, x, torch.sigmoid(logit))
        return z, F.logsigmoid(logit).sum((1, 2, 3))

    def pad(self, x: Tensor) -> Tensor:
        """Zeros before the first row and beside the rows; the last row is seen by no other."""
        along = (self.before, -1) if self.order in "AC" else (-1, self.before)
        beside = (self.side, self.side)
        return F.pad(x, (*beside, *along) if self.order in "AB" else (*along, *beside))

    def _weights(self) -> tuple[Tensor, Tensor]:
        return self.masked.weight(), self.output.weight()

    def _shift_and_logit(
        self, before: Tensor, weights: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """μ and h + 2 of all pixels whose predecessors ``before`` holds, padded at the sides."""
        hidden = F.elu_(F.conv2d(before, weights[0], self.masked.bias))
        shift, logit = F.conv2d(hidden, weights[1], self.output.bias).chunk(2, 1)
        return shift, logit + 2

    def inverse(self, z: Tensor, with_log_det: bool) -> tuple[Tensor, Tensor]:
        """x, and −Σ log s, (B,), if ``with_log_det``; otherwise zeros."""
        if not z.shape[2] * z.shape[3]:
            return z.clone(), z.new_zeros(z.shape[0])
        if any(needs_formulas(z, parameter) for parameter in self.parameters()):
            weights = self._weights()
            return self._inverse_by_convolutions(z, lambda: weights, with_log_det)
        vertical = self.order in "AB"
        weights = self._cached("rows", self._row_weights)
        x, log_det = solve_rows(z if vertical else z.mT, weights, self.order in "AC", with_log_det)
        return (x if vertical else x.mT).contiguous(), log_det

    def published_inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """x as released: two convolutions for each row, their weights normalized again; and zeros.

        So does the released code of MaCow (arXiv 1902.04208), which adds a forward pass.
        """
        if not z.shape[2] * z.shape[3]:
            return z.clone(), z.new_zeros(z.shape[0])
        return self._inverse_by_convolutions(z, self._weights, with_log_det=False)

    def _inverse_by_convolutions(
        self, z: Tensor, weights: Callable[[], tuple[Tensor, Tensor]], with_log_det: bool
    ) -> tuple[Tensor, Tensor]:
        """Two convolutions for each row, differentiable; ``weights`` is asked at each."""
        axis = 2 if self.order in "AB" else 3
        sides = (self.side, self.side)
        beside = (*sides, 0, 0) if axis == 2 else (0, 0, *sides)
        forwards = self.order in "AC"
        rows = z.split(1, axis)
        before = F.pad(torch.zeros_like(rows[0]), beside).repeat_interleave(self.before, axis)
        found, log_det = [], z.new_zeros(z.shape[0])
        for row in rows if forwards else reversed(rows):
            shift, logit = self._shift_and_logit(before, weights())
            found.append((row - shift) / torch.sigmoid(logit))
            if with_log_det:
                log_det = log_det - F.logsigmoid(logit).sum((1, 2, 3))
            new = F.pad(found[-1], beside)
            if forwards:
                before = torch.cat([before.narrow(axis, 1, self.before - 1), new], axis)
            else:
                before = torch.cat([new, before.narrow(axis, 0, self.before - 1)], axis)
        return torch.cat(found if forwards else found[::-1], axis), log_det

    def _row_weights(self) -> "RowWeights":
        first, second = self._weights()
        if self.order in "CD":
            first = first.mT
        bias = -self.output.bias
        bias[self.output.bias.numel() // 2 :] -= 2
        return RowWeights(
            first.contiguous(memory_format=torch.channels_last),
            self.masked.bias,
            second.contiguous(memory_format=torch.channels_last),
            bias,
        )

    def _cached(self, name: str, compute: Callable[[], Any]) -> Any:
        return self._cache.get(name, tuple(self.parameters()), self.training, compute)


class RowWeights(NamedTuple):
    """What `solve_rows` needs of a masked convolution, its rows running along the height.

    Attributes:
        kernel: of the masked convolution, (hidden, C, rows, columns), channels last.
        bias: of the masked convolution, (hidden,).
        output: of the 1×1 convolution, (2C, hidden, 1, 1).
        output_bias: minus its bias, and minus 2 more for h, (2C,).
    """

    kernel: Tensor
    bias: Tensor
    output: Tensor
    output_bias: Tensor


def solve_rows(
    z: Tensor, weights: RowWeights, downwards: bool, with_log_det: bool
) -> tuple[Tensor, Tensor]:
    """Find x row by row, each in six operations on buffers made once; no gradients.

    Everything is laid out with rows outermost and channels innermost. A row's ``state`` starts
    as z − b_μ and −b_h − 2; the network's output is subtracted and leaves t = z − μ and −(h + 2),
    whose exponential e gives x = t / s = t + t·e.

    Args:
        z: (B, C, H, W).
        weights: see `RowWeights`.
        downwards: whether the first row is the top one.
        with_log_det: whether the second result is wanted; zeros otherwise.
    """
    batch, channels, height, width = z.shape
    hidden_channels, _, before, across = weights.kernel.shape
    side = across // 2
    x = z.new_zeros(before + height, batch, side + width + side, channels)
    first = before if downwards else 0
    inside = x[first : first + height, :, side : side + width]
    state = z.new_empty(height, batch, width, 2 * channels)
    rest, exponent = state.split(channels, 3)
    bias_rest, bias_exponent = weights.output_bias.split(channels)
    torch.add(z.permute(2, 0, 3, 1), bias_rest, out=rest)
    exponent.copy_(bias_exponent)

    along_row, along_batch, along_column, _ = x.stride()
    start = 0 if downwards else along_row
    by_convolution = batch * width * weights.kernel.numel() >= PRODUCTS_PER_CONVOLUTION
    if by_convolution:
        shape = [height, batch, channels, before, side + width + side]
        strides = [along_row, along_batch, 1, along_row, along_column]
    else:
        shape = [height, batch, width, before, across, channels]
        strides = [along_row, along_batch, along_column, along_row, along_column, 1]
        matrix = weights.kernel.permute(2, 3, 1, 0).reshape(-1, hidden_channels)
        output = weights.output.flatten(1).T
        neighbors = z.new_empty(shape[1:])
        hidden = z.new_empty(batch * width, hidden_channels)
    known = x.as_strided(shape, strides, start).unbind()
    exponential = torch.empty_like(state[0])
    e = exponential[..., channels:]
    rows = zip(known, state.unbind(), rest.unbind(), inside.unbind(), strict=True)
    for seen, row, t, result in rows if downwards else reversed(list(rows)):
        if by_convolution:
            activation = F.elu_(F.conv2d(seen, weights.kernel, weights.bias))
            row.sub_(F.conv2d(activation, weights.output).squeeze(2).mT)
        else:
            neighbors.copy_(seen)
            torch.addmm(weights.bias, neighbors.flatten(0, 1).flatten(1), matrix, out=hidden)
            row.flatten(0, 1).addmm_(F.elu_(hidden), output, alpha=-1)
        torch.exp(row, out=exponential)
        torch.addcmul(t, t, e, out=result)
    log_det = F.softplus(exponent).sum((0, 2, 3)) if with_log_det else z.new_zeros(batch)
    return inside.permute(1, 3, 0, 2), log_det
