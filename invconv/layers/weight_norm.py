"""Weight-normalized convolutions with data-dependent initialization."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from invconv.validation import check_finite


class WeightNormConv2d(nn.Module):
    """A convolution with the weight g·v/‖v‖ of each output channel, and a bias.

    Salimans and Kingma, "Weight Normalization" (arXiv 1602.07868, equation 2). v starts as
    N(0, 0.05²), g as ‖v‖ and the bias as 0, as MaCow released it.

    Args:
        in_channels, out_channels: C_in and C_out.
        kernel_size: (rows, columns).
        padding: zeros on each side, (rows, columns).
        stride: of rows and columns alike.
    """

    initialized: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.padding = padding
        self.stride = stride
        self.v = nn.Parameter(0.05 * torch.randn(out_channels, in_channels, *kernel_size))
        self.g = nn.Parameter(torch.linalg.vector_norm(self.v.detach(), dim=(1, 2, 3)))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("initialized", torch.tensor(False))

    def weight(self) -> Tensor:
        """g·v/‖v‖, (C_out, C_in, rows, columns)."""
        return (
            self.v
            * (self.g / torch.linalg.vector_norm(self.v, dim=(1, 2, 3)))[:, None, None, None]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H', W')."""
        return F.conv2d(x, self.weight(), self.bias, stride=self.stride, padding=self.padding)

    @torch.no_grad()
    def initialize(self, x: Tensor, std: float = 1.0) -> None:
        """Set g and the bias so that every output channel for ``x`` has mean 0 and this ``std``.

        Does nothing if it was called before; the flag is part of the state_dict.

        Raises:
            ValueError: if a channel has less than two values, which have no deviation, or a value
                is not finite; nothing is set then.
        """
        if self.initialized:
            return
        y = self(x)
        if y[:, 0].numel() < 2:
            raise ValueError(
                "a deviation needs two values of each channel, and there is "
                f"B·H·W = {y[:, 0].numel()}: initialize with more or larger images"
            )
        check_finite(y, "what the convolution makes of x")
        deviation, mean = torch.std_mean(y, dim=(0, 2, 3))
        factor = std / (deviation + 1e-6)
        self.g.mul_(factor)
        self.bias.sub_(mean).mul_(factor)
        self.initialized.fill_(True)


class WeightNormUpsampling(WeightNormConv2d):
    """A transposed 3×3 convolution with stride 2 that doubles H and W, normalized in the same way.

    Args:
        in_channels, out_channels: C_in and C_out.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, (3, 3), (1, 1), 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, 2H, 2W)."""
        weight = self.weight().transpose(0, 1)
        return F.conv_transpose2d(
            x, weight, self.bias, self.stride, self.padding, output_padding=1
        )
