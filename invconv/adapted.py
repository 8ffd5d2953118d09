"""Modules of others as `Bijection`s."""

from torch import Tensor, nn

from invconv.bijection import Bijection


class Adapted(Bijection):
    """A module with ``forward(x) -> (z, log_det)`` and ``inverse(z) -> x`` as a `Bijection`.

    Its inputs need not be images, and nothing is checked but the form of what it returns. Its
    attributes ``exact`` and ``constant_log_det`` and its ``initialize(x)`` are used if it has
    them.

    Args:
        module: anyone's.
        name: what a message calls it.

    Raises:
        TypeError: if it has no inverse.
    """

    def __init__(self, module: nn.Module, name: str = "a part") -> None:
        super().__init__()
        if not isinstance(module, nn.Module) or not callable(getattr(module, "inverse", None)):
            raise TypeError(
                f"{name} must be a torch.nn.Module with an inverse(z), not {module!r:.80}"
            )
        self.module = module
        self.exact = bool(getattr(module, "exact", True))
        self.constant_log_det = bool(getattr(module, "constant_log_det", False))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the module returns."""
        result = self.module(x)
        if not isinstance(result, tuple) or len(result) != 2:
            given = f"{len(result)} values" if isinstance(result, tuple) else type(result)
            raise TypeError(f"{self.label} must return (z, log_det), not {given}")
        return result

    def _inverse(self, z: Tensor) -> Tensor:
        x: Tensor = self.module.inverse(z)  # type: ignore[operator]
        return x

    def initialize(self, x: Tensor) -> None:
        """Call the module's own, if it has one."""
        if hasattr(self.module, "initialize"):
            self.module.initialize(x)  # type: ignore[operator]

    def check_input(self, x: Tensor, name: str = "x") -> None:
        """Take anything."""

    @property
    def label(self) -> str:
        """The name of the module's class."""
        return type(self.module).__name__


def as_bijection(module: nn.Module, name: str = "a part") -> Bijection:
    """``module`` itself if it is one, or an `Adapted` one; ``name`` as there."""
    return module if isinstance(module, Bijection) else Adapted(module, name)


def as_given(part: Bijection) -> nn.Module:
    """What `as_bijection` was given."""
    return part.module if isinstance(part, Adapted) else part
