"""MintNet: residual blocks of masked convolutions, inverted by a fixed point."""

import math
from functools import partial
from numbers import Real
from typing import Any, cast

import torch
from torch import Tensor, nn

from invconv.cache import EvalCache
from invconv.conv import About, Shape, Variant, log_det_dtype, register
from invconv.layers.fixed_point import Ending, Rule, arrived, attach, check_rate, opaque
from invconv.layers.mintnet_block import (
    MintNetBlock,
    Weights,
    evaluate,
    find_root,
    solve_adjoint,
)
from invconv.layers.sized import SizedConv
from invconv.modes import is_recording, no_autocast
from invconv.numerical import Map, NumericalError
from invconv.validation import check_count, check_kernel_size

MOST_ITERATIONS, RELEASED_ITERATIONS = 200, 100
TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-12}
"""Of the relative residual of each block's inverse, by the dtype that it is computed in."""


@register("mintnet")
class MintNetPair(SizedConv):
    """Blocks A and B of Song et al., "MintNet" (arXiv 1907.07945, section 4), one after the other.

    Each is z = net(x) + |t|·x with three masked convolutions in the net; see `MintNetBlock`. The
    Jacobian of A is triangular in the order channel, row, column, that of B in the reverse order.
    log_det is the sum of the logarithms of the diagonals, which the forward pass computes beside
    z. Initialized as released: Xavier's normal distribution times 0.005, t = 1.

    The inverse repeats x ← x + (z − f(x)) / (newton_lr · diagonal) from x = z / t for block B and
    then for block A, until ‖z − f(x)‖ is at most ``tolerance`` times ‖z‖, or ‖z − f(0)‖ if that
    is larger, in each image; or, where rounding is in the way, at most eps^(2/3) times. Its
    gradient solves the transposed system by the same iteration. Half precision is computed in
    float32, and autocast changes nothing.

    MintNet is an exception to the rule that no optimizer step can break a layer. An inverse exists
    for all finite weights, as no term of the diagonal is negative and |t| is at least 1e-12; but

    - for large weights the iteration may not arrive within 200 steps, or only in float64, which
      raises `NumericalError`: it is known to converge only from near the solution;
    - where t comes close to 0 the inverse may magnify rounding up to 1e12-fold, and a t below
      1e-12 in magnitude gets no gradient any more;
    - where a central weight from a channel to itself changes its sign in W1 or W3, the signs in
      W2 follow: the map jumps there, and its gradient does not see it.

    Args:
        shape: (C, H, W) of the images.
        latent_multiplier: L; the hidden layers have L·C channels.
        kernel_size: k of each convolution, odd; 3 as released.
        newton_lr: of the inverse; above 1 it is slower and steadier.
        tolerance: of each block's inverse; by default 1e-6, in float64 1e-12.
        released_lr: newton_lr of the paper's algorithm: 3.5 for MNIST, 1.1 for CIFAR-10, 1.15
            for ImageNet-32.
        inverse_method: "auto", or "published" for that algorithm, 100 iterations per block without
            a look at residuals; unlike "auto" it can be traced and exported.

    Raises:
        TypeError: if k is no integer.
        ValueError: for a shape that is not (C, H, W), an even k, a rate of 1/2 or less, another
            number that is not positive, a tolerance of 1 or more, or an unknown method.

    >>> import torch
    >>> from invconv import MintNetPair
    >>> layer = MintNetPair((3, 8, 8))
    >>> z, log_det = layer(torch.randn(2, 3, 8, 8))
    >>> layer.inverse(z).shape, log_det.shape, layer.iterations(z).tolist()
    (torch.Size([2, 3, 8, 8]), torch.Size([2]), [[1, 1], [1, 1]])
    """

    exact = False
    constant_log_det = False
    solve_direction = "inverse"
    algorithm = "fixed point"
    sees = "all, in an order"
    assumes = "odd k, one image size"
    about = About(
        title="MintNet",
        paper=(
            'Song, Meng and Ermon, "MintNet: Building Invertible Neural Networks with Masked '
            'Convolutions", arXiv 1907.07945'
        ),
        year=2019,
        color="#88CC00",
        marker="p",
        variants={
            "mintnet": Variant({"latent_multiplier": 4, "kernel_size": 3}),
            "mintnet_net": Variant(step="net", title="MintNet, own net", swept=False),
        },
        released="github.com/ermongroup/mintnet@8f16c14758",
    )

    def __init__(
        self,
        shape: Shape,
        latent_multiplier: int = 4,
        kernel_size: int = 3,
        newton_lr: float = 1.0,
        tolerance: float | None = None,
        released_lr: float = 1.1,
        inverse_method: str = "auto",
    ) -> None:
        super().__init__(shape, inverse_method)
        self.latent_multiplier = check_count(latent_multiplier, "latent_multiplier")
        self.kernel_size = check_kernel_size(kernel_size)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, not {kernel_size}")
        self.newton_lr = check_rate(newton_lr, "newton_lr")
        self.released_lr = check_rate(released_lr, "released_lr")
        self.tolerance = tolerance
        self.blocks = nn.ModuleList(
            MintNetBlock(self.shape, self.latent_multiplier, self.kernel_size, mirrored)
            for mirrored in (False, True)
        )
        self._cache = EvalCache()

    @classmethod
    def kernel_options(cls, k: int) -> dict[str, Any] | None:
        """Return the options of convolutions of size k, which is odd."""
        return {"kernel_size": k} if k % 2 else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and the sum of the logarithms of both diagonals."""
        self.check_input(x)
        dtype = log_det_dtype(x)
        with no_autocast(x.device):
            x = x.to(self._dtype)
            log_det = x.new_zeros(x.shape[0])
            for weights in self._weights():
                x, diagonal, *_ = evaluate(x, weights)
                log_det = log_det + diagonal.log().sum((1, 2, 3))
            return x.to(self._blocks[0].t.dtype), log_det.to(dtype)

    def _inverse(self, z: Tensor) -> Tensor:
        """x by a fixed point; NumericalError where it does not arrive within 200 iterations."""
        if is_recording() and not torch.compiler.is_dynamo_compiling():
            raise RuntimeError(
                "the iterations of this inverse depend on values and cannot be recorded: record "
                'forward alone, or set inverse_method="published"'
            )
        return self._backwards(z, [self._rule] * 2)

    def published_inverse(self, z: Tensor) -> Tensor:
        """x by 100 iterations per block, as released."""
        return self._backwards(z, [Rule(self.released_lr, None, RELEASED_ITERATIONS)] * 2)

    def recordable_inverse(self, z: Tensor) -> Map:
        """`inverse` by as many evaluations of each block as ``z`` takes, for all of a batch."""
        if self.inverse_method == "published":
            return self.inverse
        counts = self.iterations(z).amax(0) + 2  # of f(0), and a last look at the residual
        rules = [Rule(self.newton_lr, None, count) for count in counts.tolist()]
        return lambda z: self._backwards(z, rules)

    def _backwards(self, z: Tensor, rules: list[Rule]) -> Tensor:
        root = self._root
        if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
            root = torch.compiler.disable(root)  # the loops run as they are
        with no_autocast(z.device):
            x = z.to(self._dtype)
            for weights, rule in reversed([*zip(self._weights(), rules, strict=True)]):
                x = root(x, weights, rule)
            return x.to(self._blocks[0].t.dtype)

    def _root(self, z: Tensor, weights: Weights, rule: Rule) -> Tensor:
        constants = [weight.detach() for weight in weights]
        if rule.tolerance is None:
            x = find_root(z.detach(), Weights(*constants), rule).x
        else:
            x = opaque(partial(self._find_root, rule), z.detach(), *constants)
        if not torch.is_grad_enabled():
            return x
        values = evaluate(x, weights)
        slopes = [values.slope1, values.slope2, values.diagonal]
        tensors = [slope.detach() for slope in slopes] + constants
        return attach(z - values.z, x, self._solve_adjoint, *tensors)

    def _find_root(self, rule: Rule, z: Tensor, *weights: Tensor) -> Tensor:
        return self._arrived(find_root(z, Weights(*weights), rule), z, "inverse")

    def _solve_adjoint(self, grad: Tensor, _: Tensor, *tensors: Tensor) -> Tensor:
        slope1, slope2, diagonal, *weights = tensors
        with no_autocast(grad.device):
            what = grad, slope1, slope2, diagonal, Weights(*weights)
            return self._arrived(solve_adjoint(*what, self._rule), grad, "gradient of the inverse")

    def _arrived(self, ending: Ending, given: Tensor, what: str) -> Tensor:
        return arrived(ending, given, self._rule, f"the {what}", self.label)

    @torch.no_grad()
    def iterations(self, z: Tensor) -> Tensor:
        """How many `inverse` takes for each image, (B, 2), in blocks A and B; it may refuse."""
        self.check_input(z, "z")
        counts = []
        with no_autocast(z.device):
            z = z.to(self._dtype)
            for weights in reversed(self._weights()):
                ending = find_root(z, weights, self._rule)
                z = self._arrived(ending, z, "inverse")
                counts.append(ending.iterations)
        return torch.stack(counts[::-1], 1)

    def convergence(self, z: Tensor) -> dict[str, float]:
        """The iterations of the slower block."""
        try:
            return {"inverse_steps": float(self.iterations(z).max())}
        except NumericalError:
            return {"inverse_steps": math.inf}

    def dependent_steps(self, height: int, width: int) -> int:
        """Of an exact substitution, in wavefronts, at most; `iterations` are fewer.

        With s = k // 2 a pixel sees its own channel (s + 1)·row + column before it, and the
        channel before its own up to s·(s + 2) behind it.
        """
        side = self.kernel_size // 2
        own = min(height * width, (side + 1) * (height - 1) + width) if side else 1
        others = self.channels - 1
        return 2 * (own + others * min(own, (side + 1) ** 2))

    @property
    def _blocks(self) -> list[MintNetBlock]:
        return cast(list[MintNetBlock], list(self.blocks))

    @property
    def tolerance(self) -> float:
        """Of the relative residual of each block's inverse, see `Bijection`."""
        return self._tolerance or TOLERANCES[self._dtype]

    @tolerance.setter
    def tolerance(self, tolerance: float | None) -> None:
        if tolerance is not None and (not isinstance(tolerance, Real) or not 0 < tolerance < 1):
            raise ValueError(f"tolerance must be None or between 0 and 1, not {tolerance!r}")
        self._tolerance = tolerance

    @property
    def _rule(self) -> Rule:
        return Rule(self.newton_lr, self.tolerance, MOST_ITERATIONS)

    @property
    def _dtype(self) -> torch.dtype:
        """What the layer computes in: no less than float32."""
        return torch.promote_types(self._blocks[0].t.dtype, torch.float32)

    def _weights(self) -> tuple[Weights, ...]:
        def compute() -> tuple[Weights, ...]:
            return tuple(block.weights(self._dtype) for block in self._blocks)

        return self._cache.get("weights", tuple(self.parameters()), self.training, compute)
