"""Self-Normalizing Flows: a convolution beside a second one that learns to be its inverse."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from invconv.cache import EvalCache
from invconv.conv import About, InvertibleConv, Variant, for_each_image, log_det_dtype, register
from invconv.layers import refinement
from invconv.layers.refinement import Refinement, adjoint, convolve
from invconv.modes import is_autocast, no_autocast
from invconv.numerical import Map, allowed_residual
from invconv.validation import UnsupportedShape, check_count, check_kernel_size, no_pixels


@register("snf")
class SelfNormalizingConv(InvertibleConv):
    """The self-normalizing convolution of Keller et al. (arXiv 2011.07248).

    z = W*x + b with zeros around x and a free kernel W, and a second kernel R that learns
    x ≈ R*(z − b). In training mode nothing is inverted and no determinant computed: R takes the
    place of W⁻¹ in the gradient of the likelihood, half of which trains W and half R. log_det is
    then 0 and has that gradient, so that a training loss shows the data term alone. In eval mode
    log_det is exact, by a dense LU of D×D, D = C·H·W, and so are all gradients.

    An exception to the contract: an optimizer step can leave W singular, or R no inverse of it,
    and then `inverse` refuses. The penalty of `extra_loss` is what keeps them together.

    Initialized as released: W = I + N with Xavier noise of gain 0.01 for k > 1, a random rotation
    for k = 1; R is the transposed map; b has the standard deviation of the noise. The released
    models with couplings use k = 1.

    Args:
        channels: C.
        kernel_size: k, odd.
        bias: whether to add b.
        penalty: λ ≥ 0 of `extra_loss`; 1 in the released models without couplings, 100 or 1000 in
            those with.
        largest_log_det: the largest D at which eval mode computes log_det; D = 8192 takes 366
            GFLOP and two matrices of 512 MiB.
        inverse_method: "auto" refines R*(z − b) until the relative residual is 1e-6 (1e-12 in
            float64), "published" is R*(z − b) alone, of no certain accuracy.

    Attributes:
        weight, inverse_weight: W and R, (C, C, k, k).
        shift: the bias b, (C,), or None.

    Raises:
        TypeError: if k is no integer.
        ValueError: if k is even or below 1, the penalty negative, or the method unknown; in eval
            mode by `forward`, if D exceeds ``largest_log_det``.
        NumericalError: by `inverse`, if refining does not contract, with the measured ‖I − R·W‖.

    >>> import torch
    >>> from invconv import SelfNormalizingConv
    >>> layer = SelfNormalizingConv(3).eval()
    >>> z, log_det = layer(torch.randn(2, 3, 8, 8))
    >>> layer.inverse(z, check=True).shape, layer.refinement(z).contraction < 0.3
    (torch.Size([2, 3, 8, 8]), True)
    """

    exact = False
    algorithm = "refined"
    sees = "all"
    assumes = "odd k, a contraction I − R·W"
    about = About(
        title="SNF",
        paper=(
            "Keller, Peters, Jaini, Hoogeboom, Forré and Welling, "
            '"Self Normalizing Flows", arXiv 2011.07248'
        ),
        year=2021,
        color="#2233FF",
        marker="x",
        variants={"snf": Variant({"kernel_size": 3})},
        released="github.com/akandykeller/SelfNormalizingFlows@4007e246eb",
    )

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        bias: bool = True,
        penalty: float = 1.0,
        largest_log_det: int = 8192,
        inverse_method: str = "auto",
    ) -> None:
        super().__init__(channels, inverse_method)
        self.kernel_size = k = check_kernel_size(kernel_size)
        if k % 2 == 0:
            raise ValueError(f"the kernel has a center: kernel_size must be odd, not {k}")
        if not 0 <= penalty < math.inf:
            raise ValueError(f"penalty must be at least 0 and finite, not {penalty!r}")
        self.penalty = float(penalty)
        self.largest_log_det = check_count(largest_log_det, "largest_log_det")
        shape = (channels, channels, k, k)
        noise = nn.init.xavier_normal_(torch.empty(shape), gain=0.01)
        if k > 1:
            weight = nn.init.dirac_(torch.empty(shape)) + noise
        else:
            matrix = torch.randn(channels, channels, dtype=torch.float64)
            weight = torch.linalg.qr(matrix)[0].to(noise.dtype)[:, :, None, None]
        self.weight = nn.Parameter(weight.contiguous())
        self.inverse_weight = nn.Parameter(adjoint(weight).contiguous())
        # Of one number there is no standard deviation.
        shift = torch.randn(channels) * noise.std(correction=int(noise.numel() > 1))
        self.bias = bias
        self.shift = nn.Parameter(shift) if bias else None
        self._cache = EvalCache()

    @classmethod
    def kernel_options(cls, k: int) -> dict[str, Any] | None:
        """Return the options of a k×k kernel; k is odd."""
        return super().kernel_options(k) if k % 2 else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, and in eval mode log|det W|; in training mode 0 with the gradient of the paper."""
        self.check_input(x)
        log_det = for_each_image(self._surrogate(x) if self.training else self._exact(x), x)
        return self.latent(x), log_det

    def latent(self, x: Tensor) -> Tensor:
        """W*x + b, for images of any size."""
        self.check_input(x)
        if no_pixels(x):
            return x.clone()
        if self.training and torch.is_grad_enabled():
            z = _SelfNormalizing.apply(*_cast(x, self.weight, self.inverse_weight))
        else:
            z = convolve(x, self.weight)
        return z if self.shift is None else z + self.shift.to(z.dtype)[:, None, None]

    def _surrogate(self, x: Tensor) -> Tensor:
        """0, with half of m·Rᵀ as its gradient in W, and minus half of m·Wᵀ in R.

        m is the number of pixels at which a tap meets the image.
        """
        offset = torch.arange(self.kernel_size, device=x.device) - self.kernel_size // 2
        rows, columns = ((size - offset.abs()).clamp(min=0) for size in x.shape[2:])
        count = (rows[:, None] * columns).to(self.weight.dtype)
        w, r = self.weight, self.inverse_weight
        total = (count * (w * adjoint(r.detach()) - r * adjoint(w.detach()))).sum() / 2
        return total - total.detach()

    def _exact(self, x: Tensor) -> Tensor | float:
        """log|det W|, a float64 scalar."""
        channels, height, width = x.shape[1:]
        dimensions = channels * height * width
        if dimensions > self.largest_log_det:
            raise UnsupportedShape(
                f"log_det in eval mode takes a dense matrix of {dimensions}×{dimensions} for "
                f"images of {tuple(x.shape[1:])}, and largest_log_det is {self.largest_log_det}: "
                "raise it to compute log_det all the same"
            )

        def compute() -> Tensor:
            weight = self.weight.double()
            identity = torch.eye(dimensions, dtype=weight.dtype, device=weight.device)
            images = identity.view(dimensions, channels, height, width)
            matrix = images if no_pixels(x) else convolve(images, weight)
            return torch.linalg.slogdet(matrix.reshape(dimensions, dimensions)).logabsdet

        name = f"log_det {height}x{width}"
        return self._cache.get(name, (self.weight,), self.training, compute)

    @property
    def tolerance(self) -> float:  # type: ignore[override]
        """The relative residual of `inverse`: 1e-6, and 1e-12 in float64; no bound of one step."""
        if self.inverse_method == "published":
            return math.inf
        return refinement.tolerance(self.weight.dtype)

    def _inverse(self, z: Tensor) -> Tensor:
        """x, by refining R*(z − b) to a tolerance."""
        return refinement.solve(self._unshifted(z), self.weight, self.inverse_weight)

    def published_inverse(self, z: Tensor) -> Tensor:
        """R*(z − b), whatever it is."""
        y = self._unshifted(z)
        return y if no_pixels(y) else convolve(y, self.inverse_weight)

    def recordable_inverse(self, z: Tensor) -> Map:
        """`inverse` in as many steps as ``z`` takes."""
        if self.inverse_method == "published":
            return self.inverse
        steps = self.refinement(z).steps
        kernels = self.weight, self.inverse_weight
        return lambda z: refinement.refine(self._unshifted(z), *kernels, steps)

    def refinement(self, z: Tensor) -> Refinement:
        """The steps, the residuals and the contraction of `inverse` for z, (B, C, H, W).

        It refuses nothing: a residual above 1e-6 says that the inverse was not found.
        """
        self.check_input(z, "z")
        return refinement.measure(self._unshifted(z), self.weight, self.inverse_weight)

    def convergence(self, z: Tensor) -> dict[str, float]:
        """The steps of the refined inverse, the residual of one step alone, and ‖I − R·W‖."""
        steps, residual, one_shot, contraction = self.refinement(z)
        arrived = residual <= allowed_residual(z.dtype, refinement.tolerance(z.dtype))
        found = {"one_step_residual": one_shot, "contraction": contraction}
        return {"inverse_steps": float(steps) if arrived else math.inf, **found}

    def _unshifted(self, z: Tensor) -> Tensor:
        return z.clone() if self.shift is None else z - self.shift[:, None, None]

    def extra_loss(self, x: Tensor, z: Tensor) -> Tensor:
        """λ·‖x − R*(W*x)‖² of each image, (B,), with a gradient in W and R alone."""
        if no_pixels(x):
            return x.new_zeros(x.shape[0])
        with no_autocast(x.device):
            images = x.detach().to(self.weight.dtype)
            again = convolve(convolve(images, self.weight), self.inverse_weight)
            error = (images - again).square().flatten(1).sum(1)
        return (self.penalty * error).to(log_det_dtype(x))


def _cast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """As autocast would cast them, so that a backward pass outside of it sees one dtype."""
    device = tensors[0].device
    if not is_autocast(device) or tensors[1].dtype == torch.float64:
        return tensors
    dtype = torch.get_autocast_dtype(device.type)
    return tuple(tensor.to(dtype) for tensor in tensors)


class _SelfNormalizing(torch.autograd.Function):
    """W*x, with half of the gradient in W, and in R minus half of that of R*(W*x) = x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, inverse_weight: Tensor) -> Tensor:
        return convolve(x, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2], output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, image = ctx.saved_tensors
        padding, shape = weight.shape[2] // 2, weight.shape
        wants_x, wants_weight, wants_inverse = ctx.needs_input_grad
        on_x = on_weight = on_inverse = None
        if wants_x or wants_inverse:
            on_x = F.conv_transpose2d(gradient, weight, padding=padding)
        if wants_weight:
            on_weight = conv2d_weight(x, shape, gradient, padding=padding) / 2
        if wants_inverse and on_x is not None:
            on_inverse = conv2d_weight(image, shape, -on_x, padding=padding) / 2
        return on_x if wants_x else None, on_weight, on_inverse
