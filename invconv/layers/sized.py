"""What layers have in common that are made for images of one size."""

from typing import Any, Self

from torch import Tensor

from invconv.conv import InvertibleConv, Shape
from invconv.validation import check_shape, check_size


class SizedConv(InvertibleConv):
    """A layer with parameters for every pixel.

    Args:
        shape: (C, H, W) of the images.
        inverse_method: as in `Bijection`.

    Raises:
        ValueError: for a shape that is not (C, H, W), or an unknown method.
    """

    def __init__(self, shape: Shape, inverse_method: str = "auto") -> None:
        sizes = check_shape(shape)
        super().__init__(sizes[0], inverse_method)
        self.shape = sizes

    @classmethod
    def from_shape(cls, shape: Shape, **options: Any) -> Self:
        """Build the layer for images of ``shape`` = (C, H, W), and for no other."""
        return cls(shape, **cls.known_options(options))

    def check_input(self, x: Tensor, name: str = "x") -> None:
        """Raise unless ``x`` is (B, C, H, W) with the sizes of the layer, and of its dtype."""
        super().check_input(x, name)
        check_size(x, self.shape, name)
