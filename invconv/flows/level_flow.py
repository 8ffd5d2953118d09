"""What every flow on images that works in levels does."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Generator, Tensor, nn

from invconv.about import Options
from invconv.bijection import Bijection
from invconv.conv import Shape
from invconv.flows import decoding
from invconv.flows.actnorm import warn_uninitialized
from invconv.flows.chain import Reversible
from invconv.flows.dequantization import build_dequantization, check_pixels
from invconv.flows.reversible import in_chains
from invconv.flows.saving import FLOWS, remember_arguments, save_flow
from invconv.validation import check_count, check_shape, lists_its_options


class LevelFlow(nn.Module):
    """A flow on integer images whose levels send latents away; a subclass fills the levels.

    Args:
        shape: (C, H, W) of the images.
        bins: the number of values that a pixel can take.
        dequantization: "uniform", or "variational" or "variational_macow" with the flow behind
            the noise trained beside this one; see `build_dequantization`.
        preprocessing: "logit" or "scale".
        dequantization_options: of the flow behind the noise.

    Attributes:
        dequantization: the module; a likelihood is a bound under it.
        dequantization_name, preprocessing_name: as they were asked for, for a row to say.
        levels: per level, `Bijection` parts; the channels that are `Bijection.leaving` at the
            end of what a part returns are a latent.
        latent_shapes: (C, H, W) of each latent, in order, the last part's output behind them.
        reversible: what training with ``memory="auto"`` finds out; a file does not keep it.
        kind: by which a file names the class, see `save`; "" of classes that no file can name.
        arguments: those of the constructor, as plain values.
    """

    kind: ClassVar[str] = ""
    arguments: dict[str, Any]

    def __init__(
        self,
        shape: Shape,
        bins: int,
        dequantization: str = "uniform",
        preprocessing: str = "logit",
        dequantization_options: Options | None = None,
    ) -> None:
        super().__init__()
        self.shape = check_shape(shape)
        self.dequantization_name, self.preprocessing_name = dequantization, preprocessing
        self.dequantization = build_dequantization(
            dequantization, preprocessing, self.shape, bins, dequantization_options or {}
        )
        self.levels = nn.ModuleList()
        self.latent_shapes: list[Shape] = []
        self.reversible = Reversible()

    def __init_subclass__(cls, kind: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.kind = kind
        if kind:
            FLOWS[kind] = cls
        lists_its_options(cls)
        remember_arguments(cls)

    def parts(self) -> list[tuple[str, Bijection]]:
        """Each part with its place, "level 2, layer 5", in the direction from data to latents."""
        return [
            (f"level {i}, layer {j}", cast(Bijection, part))
            for i, level in enumerate(self.levels)
            for j, part in enumerate(level.children())
        ]

    def encode(
        self, y: Tensor, initialize: bool = False, memory: str = "ordinary"
    ) -> tuple[list[Tensor], Tensor]:
        """Real-valued images to latents.

        Args:
            y: (B, C, H, W), after dequantization.
            initialize: whether to initialize each part on what reaches it.
            memory: as in `log_prob`.

        Returns:
            One latent per level (`latent_shapes`), the coarsest last, and log|det|, (B,).
        """
        log_det = y.new_zeros(y.shape[0])
        latents = []
        for part in in_chains(self.parts(), memory, self.reversible):
            if initialize:
                cast(Bijection, part).initialize(y)
            y, change = part(y)
            log_det = log_det + change
            if part.leaving:
                y, latent = y.split((y.shape[1] - part.leaving, part.leaving), 1)
                latents.append(latent)
        return [*latents, y], log_det

    def decode(self, latents: Sequence[Tensor], *, check: bool = False) -> Tensor:
        """Latents, as `encode` returns them, to real-valued images, (B, C, H, W).

        Args:
            latents: one per entry of `latent_shapes`.
            check: whether to look at values, as `InvertibleConv.inverse` does.

        Raises:
            NumericalError: under ``check``, of the first part on the way whose result is not
                finite or no inverse; its ``layer`` begins with the place, "level 2, layer 5".
            ValueError: if the latents do not fit; under ``check`` also if they are not finite.
        """
        decoding.check_latents(latents, self.latent_shapes, finite=check)
        return self._decode(latents, decoding.invert_checked if check else decoding.invert)

    def _decode(self, latents: Sequence[Tensor], inverse: decoding.Invert) -> Tensor:
        waiting, y = list(latents[:-1]), latents[-1]
        for place, part in reversed(self.parts()):
            if part.leaving:
                y = torch.cat([y, waiting.pop()], 1)
            y = inverse(part, y, place)
        return y

    def log_prob(
        self, images: Tensor, generator: Generator | None = None, memory: str = "ordinary"
    ) -> Tensor:
        """A lower bound of log P(images) in nats, with one draw of dequantization noise, (B,).

        Args:
            images: (B, C, H, W) integers from 0 to bins − 1, of any dtype.
            generator: the source of the noise.
            memory: what a backward pass will need: "ordinary" for the activations of every part;
                "reversible" for those at the ends of levels, from which inverses make the others
                (`NumericalError` where rounding spoils them); "auto" for the spoilt ones, too.

        Raises:
            TypeError: if the images are no tensor of integers.
            ValueError: if their shape or a value does not fit.
        """
        warn_uninitialized(self)
        y, log_prob = self._dequantize(images, generator)
        latents, log_det = self.encode(y, memory=memory)
        for latent in latents:
            normal = -0.5 * (latent.square() + math.log(2 * math.pi))
            log_prob = log_prob + normal.sum((1, 2, 3))
        return log_prob + log_det

    forward = log_prob

    def bits_per_dim(
        self, images: Tensor, generator: Generator | None = None, samples: int = 1
    ) -> Tensor:
        """An upper bound of −log₂ P(images) / (C·H·W), (B,).

        Args:
            images, generator: as in `log_prob`.
            samples: S, draws of noise u. One is the bound that is trained; more are the tighter
                importance-weighted one, log 1/S Σ p(x + u)/q(u|x) (Burda et al., arXiv
                1509.00519, equation 8), which is to be reported as such, with its S. One draw
                for all images is computed at a time.

        Raises:
            ValueError: if samples is below 1.
        """
        check_count(samples, "samples")
        bound = self.log_prob(images, generator)
        for _ in range(samples - 1):
            bound = torch.logaddexp(bound, self.log_prob(images, generator))
        bound = bound - math.log(samples)
        return -bound / (math.log(2) * math.prod(self.shape))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        temperature: float = 1.0,
        generator: Generator | None = None,
        *,
        only_finite: bool = False,
        check: bool = False,
    ) -> Tensor:
        """Draws ``n`` images, uint8 (n, C, H, W).

        An image that is finite may be wrong, because rounding errors grow before they overflow.
        ``check`` looks for them, and takes a forward pass.

        Args:
            n: how many.
            temperature: the factor on the base distribution's standard deviation.
            generator: the source of the latents.
            only_finite: whether to return those images alone that are finite, fewer than ``n``
                where an inverse overflowed, instead of raising; under ``check`` those alone that
                pass it.
            check: whether an image also has to be the inverse of its latents, as
                `Bijection.check_inverse` asks of every part on the way.

        Raises:
            NumericalError: if images are not finite or, under ``check``, not inverted; it says
                how many of how many, and in which layer that began.
        """
        latents = self.draw(n, temperature, generator)
        right = torch.ones(len(latents[0]), dtype=torch.bool, device=latents[0].device)
        y = self._decode(latents, decoding.invert_judging(right) if check else decoding.invert)
        finite = torch.isfinite(y).flatten(1).all(1)
        right &= finite
        if not only_finite and not right.all():
            bad = [latent[~right] for latent in latents]
            raise decoding.refusal(finite, right, partial(self.decode, check=True), bad)
        return self.dequantization.inverse(y[right] if only_finite else y)

    def draw(
        self, n: int, temperature: float = 1.0, generator: Generator | None = None
    ) -> list[Tensor]:
        """``n`` draws of every latent from N(0, temperature²·I).

        Raises:
            ValueError: if n is no integer of at least 0, or the temperature no number of at
                least 0.
        """
        n = check_count(n, "n", 0)
        decoding.check_temperature(temperature)
        like = self._parameter
        return [
            temperature
            * torch.randn(n, *shape, dtype=like.dtype, device=like.device, generator=generator)
            for shape in self.latent_shapes
        ]

    def save(self, path: str | Path) -> None:
        """Write the weights to a file, with what `invconv.flows.load` needs to build the flow.

        The file is replaced as a whole or not at all.

        Raises:
            TypeError: if a file cannot name the flow's class, or an option that it was built with.
        """
        save_flow(self, path)

    @torch.no_grad()
    def initialize(self, images: Tensor, generator: Generator | None = None) -> None:
        """Data-dependent initialization of every part that has one, in data order."""
        check_pixels(images, self.shape, self.dequantization.bins)
        self.dequantization.initialize(images, self._parameter.dtype, generator)
        self.encode(self._dequantize(images, generator)[0], initialize=True)

    @property
    def _parameter(self) -> Tensor:
        return next(self.parameters())

    def _dequantize(self, images: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor]:
        check_pixels(images, self.shape, self.dequantization.bins)
        return self.dequantization(images, self._parameter.dtype, generator)
