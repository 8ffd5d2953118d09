"""The triangular convolution and its inverse: checks, then the method that was chosen."""

from collections.abc import Sequence

import torch
from torch import Tensor

from invconv.modes import is_autocast
from invconv.numerical import check_inverse
from invconv.solvers.convolution import convolve_torch
from invconv.solvers.kept import Kept
from invconv.solvers.methods import code_of, resolve, run_method
from invconv.solvers.operator import needs_formulas, triangular, triangular_out_op
from invconv.solvers.problem import Problem, keep_structure, parse_problem
from invconv.validation import check_finite


def triangular_conv2d(
    x: Tensor,
    weight: Tensor,
    *,
    anchor: tuple[int, int] | str | None = None,
    corners: str | Sequence[str] = "tl",
    upper: bool = False,
    method: str = "auto",
    out: Tensor | None = None,
) -> Tensor:
    """Convolves with a kernel whose matrix is triangular in raster order.

    For a group that runs from the top left corner, with the anchor at row a and column b,

        z[c, h, w] = Σ weight[c, d, i, j] · x[d, h + i − a, w + j − b],

    summed over the taps (i, j) before the anchor in raster order and over d ≤ c (d ≥ c if
    ``upper``) at the anchor; x is zero outside the image. The other corners flip the width
    ("tr"), the height ("bl") or both ("br") of input and output; weights are always stored in
    top-left orientation. FInC's padded convolution (arXiv 2301.09266, section 3.1) is the corner
    anchor; Emerging's raster mask (arXiv 1901.11137, section 3.1) the center one.

    Args:
        x: (B, C, H, W), floating point.
        weight: (C, C', kh, kw), C // C' groups. Entries after the anchor and in the other channel
            triangle of the anchor tap are never read and get zero gradient.
        anchor: (row, column) of the tap that meets the current pixel; None for the last tap, or
            "center".
        corners: "tl", "tr", "bl", "br", or a sequence with one of them per group.
        upper: whether the anchor tap is upper triangular in channels.
        method: which code runs, never what is computed: "auto", "torch" or "compiled".
        out: a tensor of the shape, dtype and device of x that receives z, and may be x itself;
            refused where gradients are needed.

    Returns:
        z, (B, C, H, W), contiguous unless ``out`` is given.

    Raises:
        RuntimeError: if a method that was named is not available here.
        TypeError: if x or weight is no floating-point tensor or the dtypes differ.
        ValueError: if shapes, anchor, corners, devices, the method or ``out`` do not fit.

    >>> import torch
    >>> from invconv import triangular_conv2d
    >>> x = torch.arange(9.0).reshape(1, 1, 3, 3)
    >>> weight = torch.tensor([[[[0.0, 0.0], [1.0, 1.0]]]])  # a pixel and the one on its left
    >>> triangular_conv2d(x, weight)
    tensor([[[[ 0.,  1.,  3.],
              [ 3.,  7.,  9.],
              [ 6., 13., 15.]]]])
    """
    x, weight = autocast_to_float32(x, weight)
    problem = parse_problem(x, weight, anchor, corners, upper, "x")
    if out is not None:
        _check_out(out, x, weight, "x")
    return run_problem(x, weight, problem, False, method, out)


def solve_triangular_conv2d(
    z: Tensor,
    weight: Tensor,
    *,
    anchor: tuple[int, int] | str | None = None,
    corners: str | Sequence[str] = "tl",
    upper: bool = False,
    method: str = "auto",
    out: Tensor | None = None,
    check: bool = False,
) -> Tensor:
    """Find x with ``triangular_conv2d(x, weight, ...) == z``.

    Pixels on one wavefront t = slope·row + column, slope = kw − anchor column, are independent,
    so that slope·(H−1) + W dependent steps suffice: 2n−1 for a corner anchor (FInC,
    arXiv 2301.09266, section 3.3). Differentiable in z and weight; the backward pass is the same
    solve from the opposite corners with the weight transposed in channels.

    On a CPU its threads do not survive `os.fork`, as those of torch's own operators do not: a
    process that was forked afterwards waits for them for ever. Start it with "spawn".

    Args:
        z: (B, C, H, W), floating point.
        weight: (C, C', kh, kw) as in `triangular_conv2d`; what that does not read is not read.
        anchor, corners, upper: as in `triangular_conv2d`.
        method: which code runs, never what is computed: "auto", "compiled" (C++ on a CPU, CUDA
            on a GPU), "wavefront" (torch), "jacobi" (torch's convolutions, repeated; see
            `invconv.solvers.jacobi`), "reference" (plain loops), or a paper's algorithm:
            "diagonal_channel" and, on a GPU, "diagonal_channel_4" (FInC's algorithms 1 and 2),
            "raster_serial" (Emerging's and CInC's loop, on a CPU).
        out: a tensor of the shape, dtype and device of z that receives x, and may be z itself;
            refused where gradients are needed.
        check: whether to look at values, which synchronizes a device: the input is finite, the
            anchor tap is invertible, the result is finite and the residual
            ‖conv(x) − z‖ / ‖z‖ of each image at most eps^(2/3) of the dtype (2.4e-5 in float32).

    Returns:
        x, (B, C, H, W), contiguous unless ``out`` is given.

    Raises:
        RuntimeError: if a method that was named is not available here.
        TypeError: if z or weight is no floating-point tensor or the dtypes differ.
        ValueError: if shapes, anchor, corners, devices, method or ``out`` do not fit; under
            ``check`` also if z is not finite or the anchor tap is singular.
        NumericalError: under ``check``, if the result is not finite or its residual too large.

    >>> import torch
    >>> from invconv import solve_triangular_conv2d, triangular_conv2d
    >>> x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    >>> weight = 0.1 * torch.randn(3, 3, 3, 3, dtype=torch.float64)
    >>> weight[:, :, -1, -1] = torch.eye(3)
    >>> z = triangular_conv2d(x, weight)
    >>> torch.allclose(solve_triangular_conv2d(z, weight), x)
    True
    """
    z, weight = autocast_to_float32(z, weight)
    problem = parse_problem(z, weight, anchor, corners, upper, "z")
    if out is not None:
        _check_out(out, z, weight, "z")
    if check:
        check_finite(z)
        _check_anchor(weight, problem)
    reference = z.clone() if check and out is not None else z
    x = run_problem(z, weight, problem, True, method, out)
    if check:
        _check_result(x, reference, weight.detach().double(), problem)
    return x


def run_problem(
    x: Tensor,
    weight: Tensor,
    problem: Problem,
    inverse: bool,
    method: str = "auto",
    out: Tensor | None = None,
    kept: Kept | None = None,
) -> Tensor:
    """Either direction, of tensors that were checked and a geometry that was parsed before.

    An ordinary call goes straight to the method's code: `inverse` of a small layer is no more
    than this. With ``kept`` the weight is the one of every call with it.
    """
    if not is_autocast(x.device) and not needs_formulas(x, weight):
        resolved = resolve(method, x.device, inverse, weight)
        run = code_of(resolved, x, inverse, kept)
        y = run(x, weight, problem, out)
    else:
        x, weight = autocast_to_float32(x, weight)
        if x.dtype != weight.dtype:  # float64 under autocast
            raise TypeError(f"x and weight must have one dtype, not {x.dtype} and {weight.dtype}")
        resolved = resolve(method, x.device, inverse, weight)
        y = _apply(x, weight, problem, inverse, resolved, out)
    if out is not None and not out.is_inference():
        torch.autograd.graph.increment_version(out)  # a write through a pointer leaves no trace
    return y


def _apply(
    x: Tensor, weight: Tensor, problem: Problem, inverse: bool, method: str, out: Tensor | None
) -> Tensor:
    if not needs_formulas(x, weight):
        return run_method(x, weight, problem, inverse, method, out)
    geometry = (list(problem.anchor), list(problem.corners), problem.upper, inverse, method)
    if out is None:
        return triangular(x, weight, *geometry)
    triangular_out_op(x, weight, *geometry, out)
    return out


def autocast_to_float32(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Under autocast, the tensors in float32: a recurrence does not survive half precision."""
    if isinstance(tensors[0], Tensor) and is_autocast(tensors[0].device):
        return tuple(
            t.float() if t.is_floating_point() and t.dtype != torch.float64 else t for t in tensors
        )
    return tensors


def _check_out(out: Tensor, x: Tensor, weight: Tensor, name: str) -> None:
    if not isinstance(out, Tensor):
        raise TypeError(f"out must be a torch.Tensor, not {type(out).__name__}")
    if out.shape != x.shape or out.dtype != x.dtype or out.device != x.device:
        raise ValueError(
            f"out must match {name}: shape {tuple(x.shape)}, {x.dtype}, {x.device}, "
            f"not shape {tuple(out.shape)}, {out.dtype}, {out.device}"
        )
    if not out.is_contiguous() and any(
        step == 0 and size > 1 for step, size in zip(out.stride(), out.shape, strict=True)
    ):
        raise ValueError("out must own each of its elements: an expanded tensor cannot be written")
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or out.requires_grad):
        raise ValueError("out= is not differentiable: omit it, or call inside torch.no_grad()")


def _check_anchor(weight: Tensor, problem: Problem) -> None:
    row, column = problem.anchor
    per_group = weight.shape[1]
    check_finite(keep_structure(weight.detach(), problem), "weight")
    a0 = weight.detach()[:, :, row, column].view(problem.groups, per_group, per_group)
    diagonal = a0.diagonal(dim1=1, dim2=2).flatten()
    bad = torch.nonzero((diagonal == 0) | ~torch.isfinite(diagonal)).flatten()
    if len(bad):
        channel = int(bad[0])
        raise ValueError(
            f"the anchor tap is singular: its diagonal entry for channel {channel} is "
            f"{diagonal[channel].item()}; every one must be finite and not zero"
        )


def _check_result(x: Tensor, z: Tensor, weight: Tensor, problem: Problem) -> None:
    def forward(x: Tensor) -> Tensor:
        return convolve_torch(x.double(), weight, problem)

    def inverse(z: Tensor) -> Tensor:
        return run_method(z, weight, problem, True, resolve("auto", z.device, True, weight))

    check_inverse(x, z, forward, lambda: (forward, inverse), "solve_triangular_conv2d")
