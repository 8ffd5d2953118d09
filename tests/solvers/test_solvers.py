"""The triangular convolution, its inverse and their gradients."""

import warnings
from itertools import product
from unittest.mock import Mock

import pytest
import torch
from cases import Case, cases, make

from invconv import NumericalError, solve_triangular_conv2d, triangular_conv2d
from invconv.solvers import (
    FORWARD_METHODS,
    METHODS,
    compiled,
    jacobi,
    known_methods,
    methods,
    resolve,
)
from invconv.solvers.cuda.inverse import plan_solve
from invconv.solvers.cuda.plan import A100, H100, SizedProblem
from invconv.solvers.operator import triangular_op, triangular_out_op
from invconv.solvers.problem import CORNERS, parse_corners, parse_problem, transpose_channels

CPU = torch.device("cpu")
FAST = ["wavefront", "compiled", "jacobi"]
PUBLISHED = ["diagonal_channel", "raster_serial"]
HERE = [method for method in METHODS if method != "diagonal_channel_4"]


def pairs(cases, methods):
    """Every case with every method that knows its anchor."""
    return [
        pytest.param(case, method, id=f"{case}-{method}")
        for case in cases
        for method in methods
        if case.anchor is None or method != "diagonal_channel"
    ]


GRADIENT_CASES = [
    Case(2, 2, (2, 3), (3, 4)),
    Case(2, 2, (3, 2), (3, 2), upper=True),
    Case(2, 2, (3, 3), (4, 3), "center"),
]


def by_name(case):
    return str(case)


def dense(weight, case, height, width):
    """The matrix of the convolution, written straight from the definition."""
    channels, per_group, kh, kw = weight.shape
    problem = parse_problem(
        weight.new_zeros(1, channels, height, width), weight, *case.arguments.values(), "x"
    )
    row, column = problem.anchor
    matrix = torch.zeros(channels, height, width, channels, height, width, dtype=weight.dtype)
    for c in range(channels):
        group, own = divmod(c, per_group)
        down = -1 if problem.corners[group] & 2 else 1
        right = -1 if problem.corners[group] & 1 else 1
        for d in range(per_group):
            for i in range(kh):
                for j in range(kw):
                    at_anchor = (i, j) == (row, column)
                    allowed = d >= own if case.upper else d <= own
                    if (i, j) > (row, column) or (at_anchor and not allowed):
                        continue
                    for h in range(height):
                        for w in range(width):
                            hh, ww = h + down * (i - row), w + right * (j - column)
                            if 0 <= hh < height and 0 <= ww < width:
                                matrix[c, h, w, group * per_group + d, hh, ww] = weight[c, d, i, j]
    size = channels * height * width
    return matrix.reshape(size, size)


@pytest.mark.parametrize("case", cases(), ids=by_name)
def test_forward_and_reference_agree_with_the_dense_matrix(case):
    z, weight = make(case)
    matrix = dense(weight, case, *case.image)
    x = torch.linalg.solve(matrix, z.flatten(1).T).T.view_as(z)
    found = solve_triangular_conv2d(z, weight, method="reference", **case.arguments)
    torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-10)
    for method in FORWARD_METHODS:
        again = triangular_conv2d(x, weight, method=method, **case.arguments)
        torch.testing.assert_close(again, z, rtol=1e-10, atol=1e-10)
        assert again.is_contiguous()


@pytest.mark.parametrize(("case", "method"), pairs(cases(), FAST + PUBLISHED))
def test_method_agrees_with_reference(case, method, poisoned_empty):
    z, weight = make(case)
    truth = solve_triangular_conv2d(z, weight, method="reference", **case.arguments)
    found = solve_triangular_conv2d(z, weight, method=method, check=True, **case.arguments)
    torch.testing.assert_close(found, truth, rtol=1e-11, atol=1e-11)
    assert found.is_contiguous()


@pytest.mark.parametrize("method", FAST)
def test_float32_error_is_at_most_twice_that_of_plain_loops(method):
    case = Case(4, 3, (3, 3), (16, 16))
    z, weight = make(case, batch=3)
    truth = solve_triangular_conv2d(z, weight, method="reference", **case.arguments)
    z, weight = z.float(), weight.float()
    exact = solve_triangular_conv2d(
        z.double(), weight.double(), method="reference", **case.arguments
    )
    assert torch.isfinite(truth).all()
    loops = solve_triangular_conv2d(z, weight, method="reference", **case.arguments)
    found = solve_triangular_conv2d(z, weight, method=method, **case.arguments)
    assert (found - exact).norm() <= 2 * (loops - exact).norm()


@pytest.mark.parametrize("method", HERE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtype_is_kept(method, dtype):
    z, weight = make(Case(2, 2, (2, 2), (3, 3)), dtype=torch.float32, poison=False)
    z, weight = z.to(dtype), weight.to(dtype)
    x = solve_triangular_conv2d(z, weight, method=method, check=True)
    assert x.dtype == dtype
    truth = solve_triangular_conv2d(z.double(), weight.double(), method="reference")
    assert (x - truth).norm() <= 20 * torch.finfo(dtype).eps * truth.norm()


@pytest.mark.parametrize("method", HERE)
@pytest.mark.parametrize("shape", [(0, 4, 3, 3), (2, 4, 0, 3), (2, 4, 3, 0)])
def test_empty_input(method, shape):
    _, weight = make(Case(2, 2, (2, 3), (1, 1)), poison=False)
    x = solve_triangular_conv2d(torch.zeros(shape, dtype=weight.dtype), weight, method=method)
    assert x.shape == shape


@pytest.mark.parametrize("method", HERE)
def test_layouts_and_in_place(method):
    case = Case(2, 2, (3, 2), (4, 5))
    z, weight = make(case)
    truth = solve_triangular_conv2d(z, weight, method="reference", **case.arguments)
    views = {
        "channels-last": z.to(memory_format=torch.channels_last),
        "transposed": z.mT.contiguous().mT,
        "strided": torch.stack([z, z], -1)[..., 0],
    }
    for name, view in views.items():
        found = solve_triangular_conv2d(view, weight, method=method, **case.arguments)
        torch.testing.assert_close(found, truth, msg=name)
    out = torch.empty_like(z)
    assert solve_triangular_conv2d(z, weight, method=method, out=out, **case.arguments) is out
    torch.testing.assert_close(out, truth)
    copy = truth.clone()
    assert triangular_conv2d(copy, weight, out=copy, **case.arguments) is copy
    torch.testing.assert_close(copy, z)
    copy = z.clone()
    solve_triangular_conv2d(copy, weight, method=method, out=copy, check=True, **case.arguments)
    torch.testing.assert_close(copy, truth)


@pytest.mark.parametrize("method", FAST)
def test_out_may_overlap_the_input(method):
    case = Case(2, 2, (3, 2), (4, 4))
    z, weight = make(case)
    truth = solve_triangular_conv2d(z, weight, method="reference", **case.arguments)
    memory = torch.cat([z, z])
    shifted = memory.view(-1)[3 : 3 + z.numel()].view_as(z)
    source = memory[: len(z)]
    solve_triangular_conv2d(source, weight, method=method, out=shifted, **case.arguments)
    torch.testing.assert_close(shifted, truth)
    square = z.clone()
    solve_triangular_conv2d(square, weight, method=method, out=square.mT, **case.arguments)
    torch.testing.assert_close(square.mT, truth)


@pytest.mark.parametrize("case", cases(), ids=by_name)
def test_adjoint_runs_from_the_opposite_corners(case):
    """⟨A⁻¹z, u⟩ = ⟨z, A⁻ᵀu⟩, A⁻ᵀ from opposite corners, channels transposed, `upper` toggled."""
    z, weight = make(case)
    u = torch.randn_like(z)
    problem = parse_problem(z, weight, *case.arguments.values(), "z")
    opposite = [CORNERS[corner] for corner in problem.opposite]
    transposed = transpose_channels(weight, case.groups)
    x = solve_triangular_conv2d(z, weight, **case.arguments)
    v = solve_triangular_conv2d(
        u, transposed, anchor=case.anchor, corners=opposite, upper=not case.upper
    )
    torch.testing.assert_close((x * u).sum(), (z * v).sum())


@pytest.mark.parametrize(("case", "method"), pairs(GRADIENT_CASES, HERE))
def test_gradients(case, method):
    z, weight = make(case, batch=1, poison=False)
    z.requires_grad_()
    weight.requires_grad_()

    def solve(z, weight):
        return solve_triangular_conv2d(z, weight, method=method, **case.arguments)

    fast = method == "reference"
    assert torch.autograd.gradcheck(solve, (z, weight), fast_mode=fast)
    assert torch.autograd.gradgradcheck(solve, (z, weight), fast_mode=fast)


@pytest.mark.parametrize("method", FORWARD_METHODS)
@pytest.mark.parametrize("case", GRADIENT_CASES, ids=by_name)
def test_gradients_of_the_forward(case, method):
    x, weight = make(case, batch=1, poison=False)
    x.requires_grad_()
    weight.requires_grad_()

    def forward(x, weight):
        return triangular_conv2d(x, weight, method=method, **case.arguments)

    assert torch.autograd.gradcheck(forward, (x, weight))
    assert torch.autograd.gradgradcheck(forward, (x, weight))


@pytest.mark.parametrize("function", [triangular_conv2d, solve_triangular_conv2d])
@pytest.mark.parametrize("case", GRADIENT_CASES, ids=by_name)
def test_unread_weights_get_zero_gradient(case, function):
    z, weight = make(case)
    unread = weight.isnan()
    weight.requires_grad_()
    function(z, weight, **case.arguments).square().sum().backward()
    assert (weight.grad[unread] == 0).all()
    assert (weight.grad[~unread] != 0).all()


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # opcheck's
@pytest.mark.parametrize("inverse", [True, False])
@pytest.mark.parametrize("case", GRADIENT_CASES, ids=by_name)
def test_opcheck(case, inverse):
    z, weight = make(case, poison=False)
    problem = parse_problem(z, weight, *case.arguments.values(), "z")
    geometry = [list(problem.anchor), list(problem.corners), problem.upper]
    rest = [*geometry, inverse, "compiled"]
    arguments = (z.clone().requires_grad_(), weight.clone().requires_grad_(), *rest)
    torch.library.opcheck(triangular_op, arguments)
    torch.library.opcheck(triangular_out_op, (z, weight, *rest, torch.zeros_like(z)))


@pytest.mark.parametrize("case", GRADIENT_CASES, ids=by_name)
def test_function_transforms(case):
    z, weight = make(case, poison=False)

    def solve(z, weight):
        return solve_triangular_conv2d(z, weight, **case.arguments)

    found = torch.func.jacrev(solve, argnums=(0, 1))(z, weight)
    truth = torch.autograd.functional.jacobian(solve, (z, weight))
    torch.testing.assert_close(found, truth)

    stack = torch.stack([z, 2 * z, -z])
    found = torch.vmap(solve, in_dims=(0, None))(stack, weight)
    torch.testing.assert_close(found, torch.stack([solve(each, weight) for each in stack]))
    weights = torch.stack([weight, 1.1 * weight])
    found = torch.vmap(solve, in_dims=(None, 0))(z, weights)
    torch.testing.assert_close(found, torch.stack([solve(z, each) for each in weights]))
    found = torch.vmap(solve, in_dims=(2, 0))(torch.stack([z, 2 * z], 2), weights)
    truth = torch.stack([solve(z, weights[0]), solve(2 * z, weights[1])])
    torch.testing.assert_close(found, truth)


@pytest.mark.parametrize("case", GRADIENT_CASES, ids=by_name)
def test_compile(case):
    z, weight = make(case, poison=False)
    z.requires_grad_()
    weight.requires_grad_()
    arguments = case.arguments

    def loss(z, weight):
        return solve_triangular_conv2d(z, weight, **arguments).square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(z, weight), (z, weight))
    truth = torch.autograd.grad(loss(z, weight), (z, weight))
    torch.testing.assert_close(found, truth)


def test_autocast_computes_in_float32():
    z, weight = make(Case(2, 2, (2, 2), (4, 4)), dtype=torch.float32, poison=False)
    truth = solve_triangular_conv2d(z, weight)
    with torch.autocast("cpu", torch.bfloat16):
        found = solve_triangular_conv2d(z, weight)
        again = triangular_conv2d(found.bfloat16(), weight)
    assert found.dtype == again.dtype == torch.float32
    torch.testing.assert_close(found, truth)


@pytest.mark.parametrize("inverse", [True, False])
@pytest.mark.parametrize("case", GRADIENT_CASES, ids=by_name)
def test_forward_mode(case, inverse):
    z, weight = make(case, poison=False)
    function = solve_triangular_conv2d if inverse else triangular_conv2d

    def call(z, weight):
        return function(z, weight, **case.arguments)

    tangents = (torch.randn_like(z), torch.randn_like(weight))
    _, found = torch.func.jvp(call, (z, weight), tangents)
    step = 1e-6
    ahead = call(z + step * tangents[0], weight + step * tangents[1])
    behind = call(z - step * tangents[0], weight - step * tangents[1])
    torch.testing.assert_close(found, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-6)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(z, tangents[0])
        tangent = torch.autograd.forward_ad.unpack_dual(call(dual, weight)).tangent
    torch.testing.assert_close(tangent, call(tangents[0], weight))


@pytest.mark.parametrize("function", [triangular_conv2d, solve_triangular_conv2d])
def test_the_batched_gradients_of_old_are_refused(function):
    """The older vmap, on tensors without memory; the newer one is meant instead."""
    case = GRADIENT_CASES[0]
    x, weight = make(case, poison=False)

    def call(x):
        return function(x, weight, **case.arguments)

    with pytest.raises(NotImplementedError, match=r"use torch\.func\.jacrev"):
        torch.autograd.functional.jacobian(call, x, vectorize=True)
    leaf = weight.clone().requires_grad_()
    y = function(x, leaf, **case.arguments)
    basis = torch.eye(y.numel(), dtype=y.dtype).view(-1, *y.shape)
    with pytest.raises(NotImplementedError, match=r"use torch\.func\.jacrev"):
        torch.autograd.grad(y, leaf, basis, is_grads_batched=True)
    truth = torch.autograd.functional.jacobian(call, x)
    torch.testing.assert_close(torch.func.jacrev(call)(x), truth)
    found = torch.autograd.functional.jacobian(call, x, vectorize=True, strategy="forward-mode")
    torch.testing.assert_close(found, truth)


def test_writing_out_is_seen_by_autograd():
    z, weight = make(Case(2, 2, (2, 2), (3, 3)), poison=False)
    a = z.clone().requires_grad_()
    b = 1 * a
    y = b * b
    with torch.no_grad():
        solve_triangular_conv2d(z, weight, out=b)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_lazily_negated_and_zero_tensors():
    z, weight = make(Case(2, 2, (2, 2), (3, 3)), poison=False)
    negated = torch.complex(z, z).conj().imag
    assert negated.is_neg()
    truth = solve_triangular_conv2d(-z, weight)
    torch.testing.assert_close(solve_triangular_conv2d(negated, weight), truth)
    out = torch.complex(z, z).conj().imag
    solve_triangular_conv2d(-z, weight, out=out)
    torch.testing.assert_close(out, truth)
    nothing = torch._efficientzerotensor(z.shape, dtype=z.dtype)
    assert (solve_triangular_conv2d(nothing, weight) == 0).all()


def test_gradients_of_empty_images():
    _, weight = make(Case(2, 2, (2, 3), (1, 1)), poison=False)
    weight.requires_grad_()
    for function in (solve_triangular_conv2d, triangular_conv2d):
        empty = torch.zeros(2, 4, 0, 3, dtype=weight.dtype)
        (grad,) = torch.autograd.grad(function(empty, weight).sum(), weight)
        assert (grad == 0).all()


def message(error, call, *args, **kwargs):
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def test_bad_input_gets_one_sentence():
    z, weight = make(Case(2, 2, (2, 2), (3, 3)), poison=False)
    solve = solve_triangular_conv2d
    assert "known: auto, reference, wavefront, compiled" in message(
        ValueError, solve, z, weight, method="magic"
    )
    assert known_methods()[0] == "auto"
    assert "rank 4" in message(ValueError, solve, z[0], weight)
    assert "floating-point" in message(TypeError, solve, z.int(), weight)
    assert "one dtype" in message(TypeError, solve, z, weight.float())
    assert "as many channels" in message(ValueError, solve, z[:, :3], weight)
    assert "divisible by C'" in message(ValueError, solve, z, weight.repeat(1, 2, 1, 1)[:, :3])
    assert "inside the 2x2 kernel" in message(ValueError, solve, z, weight, anchor=(2, 0))
    assert "no center" in message(ValueError, solve, z, weight, anchor="center")
    assert "known: tl, tr, bl, br" in message(ValueError, solve, z, weight, corners="left")
    assert "2 groups" in message(ValueError, solve, z, weight, corners=("tl", "tr", "bl"))
    assert "match z" in message(ValueError, solve, z, weight, out=z[:1])
    for anchor in (3, (1, 1, 1), (1.7, 1)):
        assert "(row, column)" in message(ValueError, solve, z, weight, anchor=anchor)
    assert "one per group" in message(ValueError, solve, z, weight, corners=None)
    assert "torch.Tensor, not list" in message(TypeError, solve, z, weight, out=[1])
    assert "shape (C, C', kh, kw)" in message(ValueError, solve, z, weight[0])
    assert "dense" in message(TypeError, solve, z.to_sparse(), weight)
    expanded = torch.zeros(1, 4, 3, 3, dtype=z.dtype).expand(2, -1, -1, -1)
    assert "own each of its elements" in message(ValueError, solve, z, weight, out=expanded)
    weight.requires_grad_()
    assert "not differentiable" in message(ValueError, solve, z, weight, out=torch.empty_like(z))


def test_check_looks_at_values():
    z, weight = make(Case(1, 2, (3, 3), (24, 24)), poison=False)
    assert "NaN" in message(ValueError, solve_triangular_conv2d, z * torch.nan, weight, check=True)
    singular = weight.clone()
    singular[1, 1, 2, 2] = 0
    text = message(ValueError, solve_triangular_conv2d, z, singular, check=True)
    assert "singular" in text
    assert "channel 1" in text
    for alias in (z, z[:]):
        copy = z.clone()
        out = copy if alias is z else copy[:]
        solve_triangular_conv2d(copy, weight, out=out, check=True)
    broken = weight.clone()
    broken[0, 0, 0, 0] = torch.nan
    text = message(ValueError, solve_triangular_conv2d, z, broken, check=True)
    assert "weight holds 1 of" in text
    wild = weight.clone()
    wild[:, :, :2] = 100
    text = message(NumericalError, solve_triangular_conv2d, z.float(), wild.float(), check=True)
    assert "overflowed" in text
    wild[:, :, :2] = 3
    text = message(NumericalError, solve_triangular_conv2d, z.float(), wild.float(), check=True)
    assert "residual" in text


def test_diagonal_channel_refuses_what_the_paper_does_not_have():
    z, weight = make(Case(2, 2, (3, 3), (3, 3)), poison=False)
    text = message(
        ValueError,
        solve_triangular_conv2d,
        z,
        weight,
        anchor="center",
        method="diagonal_channel",
    )
    assert "corner anchors alone" in text


def test_without_the_extension(monkeypatch):
    """auto goes on in plain torch and says so once; asking by name raises with the reason."""
    z, weight = make(Case(2, 2, (2, 2), (3, 3)), poison=False)
    truth = solve_triangular_conv2d(z, weight)
    monkeypatch.setattr(compiled, "_kernels", None)
    monkeypatch.setattr(compiled, "_reason", "the C++ extension was not built (no compiler)")
    methods._say_once.cache_clear()
    with pytest.warns(UserWarning, match="plain torch, several times slower") as caught:
        found = solve_triangular_conv2d(z, weight)
        triangular_conv2d(found, weight)
    assert len(caught) == 1
    torch.testing.assert_close(found, truth)
    assert resolve("auto", CPU) == "wavefront"
    assert resolve("auto", CPU, inverse=False) == "torch"
    for function in (solve_triangular_conv2d, triangular_conv2d):
        text = message(RuntimeError, function, z, weight, method="compiled")
        assert "was not built (no compiler)" in text
    methods._say_once.cache_clear()


def test_what_runs():
    assert resolve("auto", CPU) == resolve("auto", CPU, inverse=False) == "compiled"
    assert resolve("wavefront", CPU) == "wavefront"
    meta = torch.device("meta")
    assert resolve("auto", meta) == "wavefront"
    assert "on the CPU, not on meta" in message(RuntimeError, resolve, "compiled", meta)


def test_what_runs_on_a_gpu(monkeypatch):
    """Our kernels, but for groups that torch convolves faster, or that no block can hold."""
    gpu = torch.device("cuda:0")
    monkeypatch.setattr(methods.cuda, "missing", lambda index=0: "")
    monkeypatch.setattr("invconv.solvers.cuda.driver.chip", lambda index: H100)
    weights = {c: torch.empty(c, c, 1, 1, device="meta") for c in (1, 12, 13, 96, 4000)}
    for weight in (None, weights[1], weights[12]):
        assert resolve("auto", gpu, False, weight) == "compiled"
    for weight in (None, weights[12], weights[13], weights[96]):
        assert resolve("auto", gpu, True, weight) == "compiled"
    assert resolve("auto", gpu, False, weights[13]) == "torch"
    assert resolve("compiled", gpu, False, weights[13]) == "compiled"
    methods._say_once.cache_clear()
    with pytest.warns(UserWarning, match="4000 channels per group are more than") as caught:
        assert resolve("auto", gpu, True, weights[4000]) == "wavefront"
        assert resolve("auto", gpu, True, weights[4000]) == "wavefront"
    assert len(caught) == 1
    methods._say_once.cache_clear()


@pytest.mark.parametrize("chip", [A100, H100], ids=["sm_80", "sm_90"])
def test_groups_that_a_block_can_hold_have_a_plan(chip, monkeypatch):
    monkeypatch.setattr("invconv.solvers.cuda.driver.chip", lambda index: chip)
    for element, dtype in enumerate((torch.float32, torch.float64)):
        weights = [torch.empty(c, c, 1, 1, dtype=dtype, device="meta") for c in range(1, 400)]
        most = sum(not methods.cuda.too_large(weight) for weight in weights)
        assert most >= 140
        for k, n in product((1, 3, 7), (1, 40)):
            g = SizedProblem(3, 1, most, n, n, (k, k), (k - 1, k - 1), element, False)
            assert plan_solve(g, chip).launches


def test_corner_names():
    assert parse_corners("br", 2) == (3, 3)
    assert parse_corners(CORNERS, 4) == (0, 1, 2, 3)


@pytest.mark.parametrize("size", [0.0, 0.02, 0.5, 3.0])
@pytest.mark.parametrize("anchor", [None, "center"])
def test_jacobi_needs_no_more_iterations_than_it_says(size, anchor, float64, monkeypatch):
    case = Case(2, 3, (3, 3), (9, 8), anchor)
    z, weight = torch.randn(4, 6, 9, 8), size * torch.randn(6, 3, 3, 3) / 27
    row, column = (1, 1) if anchor else (2, 2)
    weight[:, :, row, column] += torch.eye(3).repeat(2, 1)
    problem = parse_problem(z, weight, *case.arguments.values(), "z")
    most = jacobi.most_iterations(weight, problem, (9, 8), z.dtype)
    assert most <= problem.steps(9, 8, 3) - 1
    if size == 0.02:
        assert most < 15, "a bound by the size of the weights"
    counted = Mock(side_effect=jacobi.convolve_torch)
    monkeypatch.setattr(jacobi, "convolve_torch", counted)
    x = solve_triangular_conv2d(z, weight, method="jacobi", **case.arguments)
    assert counted.call_count <= most
    truth = solve_triangular_conv2d(z, weight, method="reference", **case.arguments)
    torch.testing.assert_close(x, truth)


def test_jacobi_is_never_chosen_by_itself(monkeypatch):
    monkeypatch.setattr(methods, "_missing", lambda device: "no kernels")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert resolve("auto", CPU) == "wavefront"
