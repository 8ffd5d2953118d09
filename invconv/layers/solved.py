"""What layers have in common that solve triangular systems."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from invconv.conv import InvertibleConv
from invconv.solvers import METHODS, known_methods, resolve


class SolvedConv(InvertibleConv):
    """A layer whose inverse is one triangular system, or several.

    Attributes:
        published: the ``method`` of `solve_triangular_conv2d` that is the paper's own loop.
    """

    solve_direction = "inverse"
    published: ClassVar[str] = "raster_serial"

    @abstractmethod
    def solve(self, z: Tensor, method: str) -> Tensor:
        """x, by a ``method`` of `solve_triangular_conv2d`."""

    def _inverse(self, z: Tensor) -> Tensor:
        return self.solve(z, self.inverse_method)

    def published_inverse(self, z: Tensor) -> Tensor:
        """x, by the paper's loop (`published`)."""
        return self.solve(z, self.published)

    @classmethod
    def inverse_methods(cls) -> tuple[str, ...]:
        """The methods of `solve_triangular_conv2d`, and "published"."""
        return ("published", *known_methods())

    def solver(self, device: torch.device) -> str:
        """The method of `solve_triangular_conv2d` that runs on ``device``."""
        return resolve(self._method, device)

    def unavailable(self, device: torch.device) -> str:
        """Why that method cannot run on ``device``; "" if it can."""
        return "" if self._method == "auto" else METHODS[self._method].missing(device)

    @property
    def _method(self) -> str:
        return self.published if self.inverse_method == "published" else self.inverse_method
