"""The CUDA kernels and their plans on the CPU: values, races, overruns, and broken copies."""

import re
import shutil
import subprocess
from dataclasses import replace
from unittest import mock

import forked
import pytest
import torch
from cases import Case, make
from cuda_emulation import KERNELS, build, emulated, record, working_type

from invconv.solvers import cuda, solve_triangular_conv2d
from invconv.solvers.convolution import convolve_torch
from invconv.solvers.cuda import driver
from invconv.solvers.cuda.forward import plan_convolve
from invconv.solvers.cuda.inverse import plan_solve
from invconv.solvers.cuda.plan import A100, H100, Forced, sized_problem
from invconv.solvers.cuda.streaming import plan_streams
from invconv.solvers.cuda.tiles import plan_tiles
from invconv.solvers.problem import Problem, parse_problem
from invconv.solvers.reference import solve_reference

F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16
TOLERANCE = {F32: 1e-4, F64: 1e-9, BF16: 2e-2}
PROBLEMS = [
    (Case(4, 3, (3, 3), (16, 16)), F32, {}),
    (Case(4, 3, (3, 3), (13, 10)), F32, {"tile": 5, "rows": 2, "samples": 2}),
    (Case(4, 12, (3, 3), (9, 8)), F32, {"rows": 4}),
    (Case(2, 24, (2, 2), (5, 9), upper=True), F32, {}),
    (Case(2, 5, (3, 3), (9, 7), "center", True), F32, {}),
    (Case(2, 2, (5, 5), (8, 11), "center"), F64, {"tile": 3}),
    (Case(3, 1, (4, 2), (11, 6)), F32, {"tile": 3}),
    (Case(2, 17, (1, 1), (3, 4), upper=True), F64, {}),
    (Case(2, 3, (3, 3), (5, 4), (0, 0)), F32, {}),
    (Case(2, 3, (3, 4), (6, 8), (0, 3), True), F32, {"tile": 4}),
    (Case(2, 3, (4, 3), (9, 8), (3, 1)), F32, {"taps_in": 2, "tile": 3, "rows": 4}),
    (Case(2, 7, (3, 3), (6, 9), "center", True), F32, {"window_in_shared": False, "taps_in": 2}),
    (Case(4, 3, (3, 3), (8, 9)), BF16, {"tile": 4}),
    (Case(300, 1, (2, 2), (3, 4)), F32, {}),
]
PROBLEMS = [(*one, {"streamed": False} | forced) for *one, forced in PROBLEMS]
STREAMED = [
    (Case(4, 3, (3, 3), (16, 16)), F32, {}),
    (Case(4, 3, (3, 3), (13, 10)), F32, {"tile": 5, "rows": 2, "samples": 2}),
    (Case(2, 5, (3, 3), (9, 7), "center", True), F32, {"outputs": 2, "taps_in": 1}),
    (Case(2, 3, (4, 3), (19, 12), (3, 1)), F32, {"taps_in": 2, "tile": 9, "rows": 4, "ahead": 8}),
    (Case(2, 2, (5, 5), (11, 20), "center"), F64, {"tile": 6, "ahead": 8}),
    (Case(4, 3, (3, 3), (8, 9)), BF16, {"tile": 4}),
    (Case(2, 17, (1, 1), (3, 4), upper=True), F64, {}),
]
STREAMED = [(*one, {"streamed": True} | forced) for *one, forced in STREAMED]
SLOW = [
    (Case(1, 48, (3, 3), (6, 7)), F32, {"rows": 2, "tile": 4}),
    (Case(4, 3, (3, 3), (13, 10)), F32, {"tile": 4}),
    (Case(2, 6, (3, 3), (7, 12)), F32, {"rows": 4, "samples": 2}),
    (Case(2, 12, (3, 3), (9, 8)), F64, {}),
    (Case(1, 12, (3, 3), (8, 9), "center"), F32, {"tile": 4}),
    (Case(5, 2, (1, 4), (3, 9)), F64, {"tile": 2}),
    (Case(2, 4, (4, 1), (9, 3), upper=True), F32, {"rows": 2}),
    (Case(2, 3, (1, 1), (5, 4)), F32, {}),
    (Case(2, 3, (3, 4), (6, 8), (2, 0)), F32, {"tile": 4}),
    (Case(4, 3, (5, 7), (2, 3)), F32, {}),
    (Case(1, 6, (5, 5), (7, 8)), F64, {"window_in_shared": False, "taps_in": 2, "tile": 3}),
    (Case(4, 3, (3, 3), (8, 9)), BF16, {}),
    (Case(1, 20, (2, 2), (5, 6)), BF16, {}),
    (Case(1, 96, (3, 3), (5, 6)), F32, {}),
    (Case(1, 30, (11, 11), (12, 9)), F32, {}),
    (Case(2, 9, (7, 7), (9, 20), "center", True), F64, {"tile": 5, "samples": 2}),
    (Case(4, 6, (3, 3), (40, 33)), F32, {"tile": 16, "rows": 2}),
]
SLOW = [(*one, forced | {"streamed": way}) for *one, forced in SLOW for way in (False, True)]
SLOW = [one for one in SLOW if not (one[2]["streamed"] and "window_in_shared" in one[2])]


def slow(*values):
    """A case that runs in `make test-full` alone."""
    return pytest.param(*values, marks=pytest.mark.slow)


def name(problem):
    case, dtype, forced = problem
    return "-".join([str(case), str(dtype)[6:], *(f"{k}{v}" for k, v in forced.items())])


def problem_of(case, batch, dtype):
    z, weight = make(case, batch, F64)
    problem = parse_problem(z, weight, *case.arguments.values(), "z")
    return z.to(dtype), weight.to(dtype), problem


def check(case, dtype, forced, batch=3):
    z, weight, problem = problem_of(case, batch, dtype)
    x = solve_reference(z.double(), weight.double(), problem)
    again = convolve_torch(z.double(), weight.double(), problem)
    with emulated(**forced):
        found, convolved = cuda.solve(z, weight, problem), cuda.convolve(z, weight, problem)
        in_place = z.clone()
        cuda.solve(in_place, weight, problem, in_place)
    tolerance = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(found.double(), x, **tolerance)
    torch.testing.assert_close(convolved.double(), again, **tolerance)
    torch.testing.assert_close(in_place, found, rtol=0, atol=0)


# others that `make test` has are in test_cuda_driver.py
QUICK = [PROBLEMS[4], PROBLEMS[10], STREAMED[2], STREAMED[4]]


@pytest.mark.parametrize(
    "problem",
    [
        *QUICK,
        *(slow(problem) for problem in [*PROBLEMS, *STREAMED, *SLOW] if problem not in QUICK),
    ],
    ids=name,
)
def test_values(problem, poisoned_empty):
    check(*problem)


def checked(*problem):
    flags = ("-O1", "-g", "-shared", "-fPIC", "-fsanitize=undefined", "-fno-sanitize-recover=all")
    with mock.patch("cuda_emulation.build", lambda *key: build(*key, flags)):
        check(*problem)


@pytest.mark.slow
@pytest.mark.parametrize("problem", [*PROBLEMS, *STREAMED, *SLOW], ids=name)
def test_nothing_is_undefined(problem):
    """No address is misaligned, no number overflows: otherwise the process would end."""
    forked.call(checked, *problem)


@pytest.mark.slow
def test_a_vector_that_is_misaligned_is_seen(tmp_path):
    kernels = broken(tmp_path, "wavefront.cuh", "(here - back + d)", "(here - back + d + 1)")
    flags = ("-fsanitize=undefined", "-fno-sanitize-recover=all")
    said, right = run_sanitized(TILES, flags, tmp_path, kernels)
    assert not right and "misaligned address" in said


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_batches_and_layouts(batch):
    case = PROBLEMS[0][0]
    z, weight, problem = problem_of(case, batch, F32)
    x = solve_reference(z, weight, problem)
    with emulated():
        last = z.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(cuda.solve(last, weight, problem), x, rtol=1e-4, atol=1e-4)
        out = torch.full((*z.shape[:3], 2 * z.shape[3]), torch.nan)[..., ::2]
        assert cuda.solve(z, weight, problem, out) is out
        torch.testing.assert_close(out, x, rtol=1e-4, atol=1e-4)
        overlapping = torch.cat([z.flatten(), z.new_zeros(1)])
        shifted = overlapping[1:].view(z.shape)
        cuda.solve(overlapping[:-1].view(z.shape), weight, problem, shifted)
        torch.testing.assert_close(shifted, x, rtol=1e-4, atol=1e-4)
        assert cuda.solve(z[:, :, :0], weight, problem).shape == (batch, 12, 0, 16)
        half = cuda.solve(z.half(), weight.half(), problem)
        assert half.dtype == torch.float16
        torch.testing.assert_close(half.float(), x, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("chip", [A100, H100], ids=["sm_80", "sm_90"])
def test_one_launch_where_the_image_fits(chip):
    for channels, n in ((3, 64), (6, 64), (12, 32), (24, 32), (48, 16)):
        z, weight = torch.empty(100, 4 * channels, n, n), torch.empty(4 * channels, channels, 3, 3)
        problem = parse_problem(z, weight, None, "tl", False, "z")
        g = sized_problem(tuple(z.shape), tuple(weight.shape), problem, F32)
        plan = plan_tiles(g, chip, Forced(tile=n))
        solves = [one for one in plan.launches if one.kernel == "solve"]
        assert len(solves) == 1
        assert solves[0].shared <= chip.shared_per_block
        assert len(plan.launches) == (1 if channels <= 16 else 2)
        assert len(plan_convolve(g, chip).launches) == 1


def test_tiles_take_one_launch_per_anti_diagonal():
    z, weight = torch.empty(1, 12, 512, 512), torch.empty(12, 3, 3, 3)
    problem = parse_problem(z, weight, None, "tl", False, "z")
    g = sized_problem(tuple(z.shape), tuple(weight.shape), problem, F32)
    for tile in (32, 64):
        plan = plan_tiles(g, H100, Forced(tile=tile))
        solves = [one for one in plan.launches if one.kernel == "solve"]
        assert len(solves) == 2 * 512 // tile - 1
        assert sum(one.fields["tiles"] for one in solves) == (512 // tile) ** 2


@pytest.mark.parametrize("dtype", [F32, F64, BF16], ids=str)
@pytest.mark.parametrize(("channels", "k"), [(1, 5), (1, 7), (2, 7), (4, 5), (12, 3)])
def test_tall_and_narrow_images_have_a_plan(channels, k, dtype):
    """One wants more registers than there are: so many rows, one thread each, with wide sums."""
    for image in ((64, 4), (96, 4), (128, 8), (192, 8), (256, 8), (512, 1)):
        for anchor in ((k - 1, k - 1), (k // 2, k // 2)):
            problem = Problem(anchor, (0,) * 4, False)
            weight, shape = (4 * channels, channels, k, k), (8, 4 * channels, *image)
            g = sized_problem(shape, weight, problem, dtype)
            for plan in (plan_tiles(g, H100), plan_streams(g, H100), plan_convolve(g, H100)):
                for one in plan.launches:
                    assert one.blocks > 0 < one.threads <= 512
                    assert one.shared <= H100.shared_per_block


def test_only_tiles_bands_and_an_image_in_memory_read_what_was_rounded():
    def plan(case, streamed=False, **forced):
        z, weight, problem = problem_of(case, 2, BF16)
        return plan_solve(
            sized_problem(tuple(z.shape), tuple(weight.shape), problem, BF16),
            H100,
            Forced(streamed=streamed, **forced),
        )

    small, large = Case(1, 3, (3, 3), (8, 8)), Case(4, 24, (3, 3), (8, 8))
    assert [one.kernel for one in plan(large).launches] == ["fold", "solve"]
    assert not plan(small).rereads and not plan(large).rereads
    assert plan(small, tile=4).rereads and plan(large, tile=4).rereads
    assert plan(small, window_in_shared=False, taps_in=2).rereads
    assert not plan(small, streamed=True).rereads and plan(small, True, tile=4).rereads


def test_a_problem_that_fits_no_chip_is_refused():
    _, _, problem = problem_of(Case(1, 1, (1, 1), (2, 2)), 1, F32)
    g = sized_problem((1, 3000, 2, 2), (3000, 3000, 1, 1), problem, F32)
    with pytest.raises(ValueError, match="no CUDA plan for 3000 channels"):
        plan_solve(g, H100)


def test_a_driver_that_fails_is_an_error():
    z, weight, problem = problem_of(Case(4, 1, (2, 2), (3, 3)), 1, F32)
    with (
        mock.patch.object(driver, "LIBRARY", "libnone.so.1"),
        mock.patch.object(driver, "function", lambda *_: 1),
        mock.patch.object(driver, "stream", lambda index: 0),
        pytest.raises(RuntimeError, match="libnone"),
    ):
        cuda.solve_diagonal_channel(z, weight, problem)


def test_algorithm_2_is_refused_on_a_cpu():
    with pytest.raises(RuntimeError, match="on a CPU use diagonal_channel"):
        solve_triangular_conv2d(
            torch.zeros(1, 4, 2, 2), torch.ones(4, 1, 1, 1), method="diagonal_channel_4"
        )


SANITIZED = [
    (Case(2, 3, (3, 3), (7, 6)), F32, {"streamed": False, "tile": 4, "samples": 2}),
    (Case(2, 3, (3, 3), (7, 8)), F32, {"streamed": True, "tile": 5, "samples": 2}),
    (Case(2, 3, (3, 3), (5, 6), "center"), F32, {"streamed": False, "taps_in": 1, "rows": 2}),
    (Case(2, 3, (3, 3), (5, 6), "center"), F32, {"streamed": True, "taps_in": 1, "rows": 2}),
]
TILES, STREAMS = SANITIZED[:2]


def run_sanitized(problem, flags, tmp_path, kernels=KERNELS / "cuda", make_plan=plan_solve):
    """The emulation's program under a sanitizer: its output, and whether the values are right."""
    case, dtype, forced = problem
    z, weight, problem = problem_of(case, 2, dtype)
    g = sized_problem(tuple(z.shape), tuple(weight.shape), problem, dtype)
    plan = make_plan(g, H100, Forced(**forced))
    x = torch.full_like(z, torch.nan)
    (tmp_path / "call").write_bytes(record(plan, (z, weight, x), problem))
    flags = ("-O1", "-g", "-DEMULATE_WITH_THREADS", *flags)
    program = build(plan.source, plan.options, flags, kernels)
    done = subprocess.run(
        ["setarch", "-R", str(program), str(tmp_path / "call"), str(tmp_path / "result")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        return done.stderr, False
    start = (z.numel() + weight.numel()) * z.element_size()
    written = (tmp_path / "result").read_bytes()[start : start + x.numel() * x.element_size()]
    found = torch.frombuffer(bytearray(written), dtype=working_type(x)).view(x.shape)
    truth = solve_reference if make_plan is plan_solve else convolve_torch
    expected = truth(z.double(), weight.double(), problem)
    return done.stderr, torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-4)


SANITIZERS = {
    "thread": ("-fsanitize=thread",),
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
}


@pytest.mark.parametrize("sanitizer", SANITIZERS)
@pytest.mark.parametrize("problem", [TILES, STREAMS, *map(slow, SANITIZED[2:])], ids=name)
def test_sanitizers_find_nothing(problem, sanitizer, tmp_path):
    said, right = run_sanitized(problem, SANITIZERS[sanitizer], tmp_path)
    assert right, said


@pytest.mark.parametrize("sanitizer", ["thread", slow("address")])
def test_sanitizers_find_nothing_in_the_forward(sanitizer, tmp_path):
    problem = (TILES[0], F32, {"tile": 4})
    said, right = run_sanitized(problem, SANITIZERS[sanitizer], tmp_path, make_plan=plan_convolve)
    assert right, said


def broken(tmp_path, file, text, replacement, occurrence=0):
    """A copy of the kernels with one piece of text replaced."""
    copy = tmp_path / "kernels"
    shutil.copytree(KERNELS / "cuda", copy)
    parts = (copy / file).read_text().split(text)
    assert len(parts) > occurrence + 1, f"{text!r} is not in {file}"
    left, right = text.join(parts[: occurrence + 1]), text.join(parts[occurrence + 1 :])
    (copy / file).write_text(left + replacement + right)
    return copy


STEP_END = "        __syncthreads();\n    }\n"
STREAMED_STEP_END = "                __syncthreads();\n            }\n"
WINDOW_END = "anchor, own);\n    }\n    __syncthreads();\n"


@pytest.mark.parametrize(
    ("problem", "file", "text"),
    [
        (TILES, "wavefront.cuh", STEP_END),
        slow(TILES, "wavefront.cuh", WINDOW_END),
        (STREAMS, "streaming.cuh", STREAMED_STEP_END),
    ],
    ids=["a step of tiles", "the window", "a step of streams"],
)
def test_a_barrier_left_out_is_a_race(problem, file, text, tmp_path):
    kernels = broken(tmp_path, file, text, re.sub(" *__syncthreads.*\n", "", text))
    said, right = run_sanitized(problem, SANITIZERS["thread"], tmp_path, kernels)
    assert not right
    assert "data race" in said and file in said


WRONG = {
    "a diagonal off by one": ("common.cuh", "? KERNEL_WIDTH - 1 - A", "? KERNEL_WIDTH - A"),
    "a row too far": ("wavefront.cuh", "above * row_stride +", "(above + 1) * row_stride +"),
    "no columns left of the tile": ("wavefront.cuh", "int j = 1 - KERNEL_WIDTH", "int j = 0"),
    "a corner that is not flipped": ("common.cuh", "corner & 1 ? -1 : 1", "1"),
    "half of a vector": ("push.cuh", "e < WIDE && d + e", "e < WIDE / 2 && d + e"),
    "a step too few": ("wavefront.cuh", "steps = high + rows - 1", "steps = high + rows - 2"),
}
WRONG_STREAMS = {
    "a ring too short": (
        "streaming.cuh",
        "(step - back) & (RING - 1)",
        "(step - back) & (RING / 2 - 1)",
    ),
    "columns of another row": ("streaming.cuh", "h0 + i, w & ~3,", "h0 + i - 1, w & ~3,"),
    "the other half of the queue": (
        "streaming.cuh",
        "(w & AHEAD) * STRIDE",
        "(~w & AHEAD) * STRIDE",
    ),
    "a band without the rows above": ("streaming.cuh", "(!h0 || i >= ANCHOR_ROW)", "true"),
    "columns in the order of memory": ("streaming.cuh", "image.right > 0", "true"),
}


@pytest.mark.parametrize("fault", [*list(WRONG)[:2], *map(slow, list(WRONG)[2:])])
def test_wrong_arithmetic_is_seen(fault, tmp_path):
    """In a process of its own: what reads outside its window may crash."""
    kernels = broken(tmp_path, *WRONG[fault])
    _, right = run_sanitized(TILES, (), tmp_path, kernels)
    assert not right


@pytest.mark.parametrize("fault", [*list(WRONG_STREAMS)[:1], *map(slow, list(WRONG_STREAMS)[1:])])
def test_wrong_arithmetic_of_streams_is_seen(fault, tmp_path):
    kernels = broken(tmp_path, *WRONG_STREAMS[fault])
    _, right = run_sanitized(STREAMS, (), tmp_path, kernels)
    assert not right


@pytest.mark.slow
def test_columns_behind_the_end_of_a_row_are_not_asked_for(tmp_path):
    kernels = broken(tmp_path, "streaming.cuh", "if (w < width)", "if (w < width + 4)")
    said, right = run_sanitized(STREAMS, SANITIZERS["address"], tmp_path, kernels)
    assert not right and "heap-buffer-overflow" in said


@pytest.mark.parametrize("problem", [TILES, STREAMS], ids=["tiles", "streams"])
def test_the_unbroken_copy_is_right(problem, tmp_path):
    kernels = broken(tmp_path, "common.cuh", "REACH", "REACH")
    said, right = run_sanitized(problem, (), tmp_path, kernels)
    assert right, said


def test_a_barrier_that_some_skip_is_seen(tmp_path):
    kernels = broken(tmp_path, "wavefront.cuh", STEP_END, "if (any) __syncthreads();\n    }\n")
    with (
        mock.patch("cuda_emulation.build", lambda *key: build(*key, kernels=kernels)),
        pytest.raises(AssertionError, match="a barrier not reached by all threads"),
    ):
        check(*TILES)


@pytest.mark.parametrize("problem", [TILES, slow(STREAMS)], ids=["tiles", "streams"])
def test_shared_memory_that_is_too_small_is_an_overrun(problem, tmp_path):
    def too_small(g, chip, forced):
        plan = plan_solve(g, chip, forced)
        launches = [replace(one, shared=max(0, one.shared - 16)) for one in plan.launches]
        return replace(plan, launches=tuple(launches))

    said, right = run_sanitized(problem, SANITIZERS["address"], tmp_path, make_plan=too_small)
    assert not right and "heap-buffer-overflow" in said
