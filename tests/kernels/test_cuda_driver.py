"""The launch code without a GPU: NVIDIA's bindings on a stand-in driver, in processes."""

import threading
from unittest import mock

import pytest
import torch
from cases import Case
from stand_in import driving, in_child
from test_cuda_emulation import PROBLEMS, SLOW, STREAMED, TOLERANCE, name, problem_of, slow

from invconv.solvers import cuda
from invconv.solvers.convolution import convolve_torch
from invconv.solvers.cuda import calls, driver, nvrtc, published
from invconv.solvers.cuda.plan import Forced
from invconv.solvers.reference import solve_reference

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real driver")
F32 = torch.float32
SMALL = Case(4, 3, (3, 3), (9, 8))
PATHS = [PROBLEMS[number] for number in (0, 1, 3, 5, 11, 12, 13)] + STREAMED[:2]
"""One problem for each path: fused, tiled, folded before, double, no window, bfloat16, groups,
streams of all rows and in bands."""
OTHERS = [problem for problem in [*PROBLEMS, *STREAMED, *SLOW] if problem not in PATHS]


def solved(case, dtype, forced):
    """The values are right, and every launch asked for what a driver grants."""
    z, weight, problem = problem_of(case, 3, dtype)
    with driving() as one, mock.patch.object(calls, "forced", Forced(**forced)):
        found, convolved = cuda.solve(z, weight, problem), cuda.convolve(z, weight, problem)
        kernels = [launch[0] for launch in one.launches]
    assert "solve" in kernels and kernels[-1] == "convolve"
    tolerance = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    x = solve_reference(z.double(), weight.double(), problem)
    torch.testing.assert_close(found.double(), x, **tolerance)
    again = convolve_torch(z.double(), weight.double(), problem)
    torch.testing.assert_close(convolved.double(), again, **tolerance)


@pytest.mark.parametrize("problem", [*PATHS, *map(slow, OTHERS)], ids=lambda p: name(p))
def test_values_through_the_driver(problem):
    in_child(solved, *problem)


def arguments_arrive():
    z, weight, problem = problem_of(SMALL, 2, F32)
    with driving() as one:
        x = cuda.solve(z, weight, problem)
        given = one.arguments(0)
        assert (given.input, given.weight) == (z.data_ptr(), weight.data_ptr())
        assert given.output == x.data_ptr() and not given.folded
        assert (given.batch, given.height, given.width) == (2, 9, 8)
        assert (given.total_groups, given.first_group, given.groups) == (4, 0, 4)
        assert [given.corners[0] >> 2 * n & 3 for n in range(4)] == list(problem.corners)


def test_a_kernel_gets_the_arguments_in_the_layout_that_it_declares():
    in_child(arguments_arrive)


def in_threads():
    z, weight, problem = problem_of(SMALL, 2, F32)
    x, found = solve_reference(z, weight, problem), []
    with driving():
        threads = [
            threading.Thread(target=lambda: found.append(cuda.solve(z, weight, problem)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 3
    for one in found:
        torch.testing.assert_close(one, x, rtol=1e-4, atol=1e-4)


def test_a_thread_that_has_no_context_gets_one():
    in_child(in_threads)


def loaded_once():
    z, weight, problem = problem_of(SMALL, 2, F32)
    with driving() as one:
        with one.capture():
            cuda.solve(z, weight, problem)
        assert one.loads == 1
        for _ in range(3):
            cuda.solve(z, weight, problem)
        assert one.loads == 1 and len(one.launches) == 4 and not one.waits


def test_the_first_call_may_be_captured_and_nothing_is_loaded_twice():
    in_child(loaded_once)


def one_module():
    case, dtype, forced = PROBLEMS[3]
    z, weight, problem = problem_of(case, 2, dtype)
    with driving() as one, mock.patch.object(calls, "forced", Forced(**forced)):
        cuda.solve(z, weight, problem)
        assert [launch[0] for launch in one.launches] == ["fold", "solve"]
        assert one.loads == 1
        # tiles take all the shared memory there is, other kernels need the first cache
        assert [launch[5] for launch in one.launches] == [-1, 100]
        with mock.patch.object(calls, "forced", Forced(streamed=True)):
            cuda.solve(z, weight, problem)
        assert one.launches[-1][5] == -1 and one.loads == 2


def test_fold_and_solve_are_loaded_once():
    in_child(one_module)


def too_new():
    z, weight, problem = problem_of(SMALL, 2, F32)
    with (
        driving(),
        mock.patch.object(nvrtc, "machine_code", lambda *_: b"NEWER PTX"),
        mock.patch.object(torch.cuda, "get_device_name", lambda index: "a new GPU"),
        pytest.raises(RuntimeError, match=r"driver is older than NVRTC .* for a new GPU: update"),
    ):
        cuda.solve(z, weight, problem)


def test_intermediate_code_that_the_driver_does_not_know_is_a_sentence():
    in_child(too_new)


def on_two_devices():
    z, weight, problem = problem_of(SMALL, 2, F32)
    with driving() as one:
        cuda.solve(z, weight, problem)
        with mock.patch.object(calls, "index_of", lambda x: 1):
            from cuda.bindings import driver as bindings

            before = bindings.cuCtxGetCurrent()[1]
            second = bindings.cuDevicePrimaryCtxRetain(1)[1]
            bindings.cuCtxSetCurrent(second)  # as torch.cuda.device does
            cuda.solve(z, weight, problem)
            bindings.cuCtxSetCurrent(before)
        assert [launch[1] for launch in one.launches] == [0, 1]
        assert one.loads == 2


def test_each_device_has_its_own_functions():
    in_child(on_two_devices)


def on_a_stream():
    z, weight, problem = problem_of(SMALL, 2, F32)
    with driving() as one:
        one.stream = 77
        cuda.solve(z, weight, problem)
        assert one.launches[0][-1] == 77


def test_launches_go_to_the_current_stream():
    in_child(on_a_stream)


def refused():
    z, weight, problem = problem_of(SMALL, 2, F32)
    with driving():
        cuda.solve(z, weight, problem)
        chip, launch = driver.chip(0), driver.launch
        more = chip.shared_per_block + 1
        with (
            mock.patch.object(driver, "launch", lambda *a: launch(*a[:6], more, a[7])),
            pytest.raises(RuntimeError, match="CUDA driver: CUDA_ERROR_INVALID_VALUE"),
        ):
            cuda.solve(z, weight, problem)
        with pytest.raises(RuntimeError, match="CUDA driver: CUDA_ERROR_NOT_FOUND"):
            driver.function(0, "wavefront", next(iter(driver._functions))[2], "nothing")


def test_what_the_driver_refuses_is_an_error():
    in_child(refused)


def published_loop(four, in_cpp):
    z, weight, problem = problem_of(Case(4, 3, (3, 2), (5, 7), upper=True), 3, F32)
    solve = cuda.solve_diagonal_channel_4 if four else cuda.solve_diagonal_channel
    extension = published.compiled.extension() if in_cpp else None
    with (
        driving() as one,
        mock.patch.object(published.compiled, "extension", lambda: extension),
    ):
        x = solve(z, weight, problem)
        steps = published.launches(z.shape, weight.shape, four)
        assert len(one.launches) == one.waits == steps
    truth = solve_reference(z.double(), weight.double(), problem)
    torch.testing.assert_close(x.double(), truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("in_cpp", [True, False])
@pytest.mark.parametrize("four", [True, False])
def test_the_published_loop_through_the_driver(four, in_cpp):
    in_child(published_loop, four, in_cpp)
