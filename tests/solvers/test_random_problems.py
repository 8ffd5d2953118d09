"""Random problems: every method and instruction set against plain loops."""

from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.solvers import FORWARD_METHODS, METHODS, compiled, convolution
from invconv.solvers.compiled import instruction_sets
from invconv.solvers.problem import CORNERS, keep_structure, parse_problem

LAYOUTS = {
    "contiguous": lambda z: z,
    "channels-last": lambda z: z.contiguous(memory_format=torch.channels_last),
    "transposed": lambda z: z.mT.contiguous().mT,
    "strided": lambda z: torch.stack([z, z.neg()], -1)[..., 0],
    "sliced": lambda z: torch.cat([z, z], 3)[:, :, :, : z.shape[3]],
}


@st.composite
def problems(draw):
    """z, weight with NaN wherever nothing may be read, and the arguments."""
    groups, per_group = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 3, 4, 5, 6, 12, 13]))
    kh, kw = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    batch = draw(st.sampled_from([1, 2, 3, 15, 16, 17, 33]))
    room = max(1, 20_000 // (groups * per_group**2 * kh * kw))
    height = draw(st.integers(1, min(40, room)))
    width = draw(st.integers(1, max(1, min(40, room // height))))
    anchor = (draw(st.integers(0, kh - 1)), draw(st.integers(0, kw - 1)))
    anchor = draw(st.sampled_from([anchor, (kh - 1, kw - 1)]))
    corners = draw(st.lists(st.sampled_from(CORNERS), min_size=groups, max_size=groups))
    upper = draw(st.booleans())
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    channels = groups * per_group
    weight = torch.randn(channels, per_group, kh, kw, generator=generator, dtype=torch.float64)
    weight *= 0.35 / (per_group * kh * kw) ** 0.5
    rows = torch.arange(channels)
    unit = draw(st.booleans())
    weight[rows, rows % per_group, anchor[0], anchor[1]] = (
        1.0 if unit else 0.7 + weight[rows, rows % per_group, anchor[0], anchor[1]].abs()
    )
    weight = weight.to(dtype)
    z = torch.randn(batch, channels, height, width, generator=generator, dtype=dtype)
    problem = parse_problem(z, weight, anchor, corners, upper, "z")
    weight[keep_structure(torch.ones_like(weight), problem) == 0] = torch.nan
    z = LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](z)
    return z, weight, {"anchor": anchor, "corners": corners, "upper": upper}


def poisoned(function):
    """Runs ``function`` while uninitialized memory holds NaN."""
    original = torch.empty_like

    def empty_like(*args, **kwargs):
        return original(*args, **kwargs).fill_(torch.nan)

    with mock.patch.object(torch, "empty_like", empty_like):
        return function()


@given(problems())
def test_every_method_agrees_with_the_loops(problem):
    z, weight, arguments = problem
    exact = solve_triangular_conv2d(z.double(), weight.double(), method="reference", **arguments)
    loops = solve_triangular_conv2d(z, weight, method="reference", **arguments)
    scale = torch.finfo(z.dtype).eps * exact.norm()
    allowed = 2 * (loops - exact).norm() + 4 * scale
    corner = arguments["anchor"] == (weight.shape[2] - 1, weight.shape[3] - 1)
    for method in METHODS:
        if METHODS[method].missing(z.device) or (method == "diagonal_channel" and not corner):
            continue
        found = poisoned(
            lambda method=method: solve_triangular_conv2d(z, weight, method=method, **arguments)
        )
        assert (found - exact).norm() <= allowed, method
    for method in FORWARD_METHODS:
        again = poisoned(
            lambda method=method: triangular_conv2d(loops, weight, method=method, **arguments)
        )
        assert (again - z).norm() <= 30 * torch.finfo(z.dtype).eps * (z.norm() + loops.norm())


@pytest.mark.parametrize("lanes", ["", "samples", "pixels", "channels"])
@pytest.mark.parametrize("isa", instruction_sets())
@given(problems())
def test_every_kernel_agrees_with_the_loops(isa, lanes, problem):
    z, weight, arguments = problem
    loops = solve_triangular_conv2d(z, weight, method="reference", **arguments)
    with mock.patch.dict(compiled.forced, isa=isa, lanes=lanes):
        found = poisoned(
            lambda: solve_triangular_conv2d(z, weight, method="compiled", **arguments)
        )
        again = poisoned(lambda: triangular_conv2d(found, weight, method="compiled", **arguments))
        out = z.clone()
        solve_triangular_conv2d(out, weight, method="compiled", out=out, **arguments)
    tolerance = 60 * torch.finfo(z.dtype).eps
    assert (found - loops).norm() <= tolerance * loops.norm()
    assert (again - z).norm() <= tolerance * (z.norm() + loops.norm())
    assert (out - found).norm() <= tolerance * loops.norm()


@pytest.mark.parametrize("isa", instruction_sets())
@given(problems())
def test_weight_gradients_agree_with_torch(isa, problem):
    z, weight, arguments = problem
    geometry = parse_problem(z, weight, **arguments, name="z")
    grad = LAYOUTS["transposed"](torch.randn(z.shape, dtype=z.dtype))
    truth = convolution.weight_gradient(z.double(), grad.double(), weight.double(), geometry)
    with mock.patch.dict(compiled.forced, isa=isa):
        found = compiled.weight_gradient(z, grad, weight, geometry)
    assert not found[truth == 0].any()
    scale = torch.finfo(z.dtype).eps * (z.abs().sum() * grad.abs().max()) ** 0.5
    assert (found - truth).norm() <= 30 * torch.finfo(z.dtype).eps * truth.norm() + 30 * scale


def test_unknown_kernels_are_refused():
    z, weight = torch.zeros(1, 2, 3, 3), torch.ones(2, 2, 1, 1)
    for forced in ({"isa": "mmx"}, {"lanes": "bits"}):
        with mock.patch.dict(compiled.forced, forced), pytest.raises(ValueError):
            solve_triangular_conv2d(z, weight, method="compiled")
