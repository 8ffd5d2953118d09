"""The CUDA kernels on a GPU; test_cuda_emulation.py has what needs none."""

import shutil
import subprocess
import sys
import threading

import pytest
import torch
from cases import Case, cases, make

from invconv import FInC, solve_triangular_conv2d, triangular_conv2d
from invconv.numerical import allowed_residual, relative_error
from invconv.rows.provenance import ROOT
from invconv.solvers import cuda, resolve
from invconv.solvers.cuda import calls, driver, published
from invconv.solvers.cuda.inverse import plan_solve
from invconv.solvers.cuda.plan import Forced, sized_problem
from invconv.solvers.operator import triangular_op
from invconv.solvers.problem import CORNERS, parse_problem

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GPU = torch.device("cuda")
SANITIZED = ROOT / "kernels" / "gpu" / "sanitized.py"
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 2e-2}
LARGE = [
    Case(4, 3, (3, 3), (16, 16)),
    Case(4, 6, (3, 3), (31, 33)),
    Case(4, 12, (3, 3), (32, 32)),
    Case(4, 3, (3, 3), (130, 70)),
    Case(1, 48, (3, 3), (17, 20)),
    Case(1, 96, (3, 3), (9, 8), upper=True),
    Case(1, 12, (3, 3), (40, 21), "center"),
    Case(2, 3, (11, 11), (24, 50)),
    Case(1, 24, (5, 5), (9, 30), "center", True),
    Case(300, 1, (2, 2), (5, 4)),
]


@pytest.fixture(autouse=True, scope="module")
def _exact():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def both(case, dtype, batch=2):
    """z and weight on the GPU, and x in float64 by the compiled CPU solver."""
    z, weight = make(case, batch)
    z, weight = z.to(dtype), weight.to(dtype)
    x = solve_triangular_conv2d(z.double(), weight.double(), method="compiled", **case.arguments)
    return z.to(GPU), weight.to(GPU), x


def close(found, expected, dtype):
    tolerance = TOLERANCE[dtype]
    scale = expected.double().abs().max().item() if expected.numel() else 1
    torch.testing.assert_close(
        found.double().cpu(), expected.double().cpu(), rtol=tolerance, atol=tolerance * scale
    )


def test_compiled_is_what_runs():
    assert cuda.missing() == ""
    assert resolve("auto", GPU) == resolve("auto", GPU, inverse=False) == "compiled"
    assert FInC(8).to(GPU).solver(GPU) == "compiled"


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", [*cases(), *LARGE], ids=str)
def test_parity(case, dtype, poisoned_empty):
    z, weight, x = both(case, dtype)
    found = solve_triangular_conv2d(z, weight, method="compiled", **case.arguments)
    assert found.dtype == dtype and found.is_contiguous()
    close(found, x, dtype)
    again = triangular_conv2d(z, weight, method="compiled", **case.arguments)
    exact = triangular_conv2d(z.double(), weight.double(), method="torch", **case.arguments)
    close(again, exact, dtype)


@pytest.mark.parametrize("method", ["diagonal_channel", "diagonal_channel_4"])
@pytest.mark.parametrize("case", [case for case in cases() if case.anchor is None], ids=str)
def test_the_published_algorithms(case, method):
    z, weight, x = both(case, torch.float32)
    close(solve_triangular_conv2d(z, weight, method=method, **case.arguments), x, torch.float32)


@pytest.mark.parametrize("batch", [0, 1, 3, 100, 1025, 2000])
def test_batches(batch):
    case = LARGE[0]
    z, weight, x = both(case, torch.float32, batch)
    close(solve_triangular_conv2d(z, weight, **case.arguments), x, torch.float32)
    if batch:
        found = solve_triangular_conv2d(z, weight, method="diagonal_channel_4", **case.arguments)
        close(found, x, torch.float32)


PATHS = [
    {"tile": 8},
    {"tile": 16, "rows": 2, "samples": 2},
    {"tile": 12, "rows": 4},
    {"taps_in": 1},
    {"taps_in": 2, "tile": 9},
    {"folded": True},
]
PATHS = [path | {"streamed": streamed} for path in PATHS for streamed in (False, True)]
PATHS += [{"window_in_shared": False, "taps_in": 2}, {"streamed": True, "ahead": 8}]


@pytest.mark.parametrize("forced", PATHS, ids=str)
@pytest.mark.parametrize("case", [LARGE[1], LARGE[6]], ids=str)
def test_every_path(case, forced, monkeypatch):
    monkeypatch.setattr(calls, "forced", Forced(**forced))
    for dtype in TOLERANCE:
        z, weight, x = both(case, dtype)
        close(cuda.solve(z, weight, parse(z, weight, case)), x, dtype)


def parse(z, weight, case):
    return parse_problem(z, weight, *case.arguments.values(), "z")


def test_it_is_deterministic():
    z, weight, _ = both(LARGE[2], torch.float32, 20)
    first = solve_triangular_conv2d(z, weight, **LARGE[2].arguments)
    for _ in range(50):
        assert torch.equal(first, solve_triangular_conv2d(z, weight, **LARGE[2].arguments))


@pytest.mark.parametrize("case", [LARGE[0], LARGE[3]], ids=str)
def test_out_and_layouts(case):
    z, weight, x = both(case, torch.float32)
    last = z.contiguous(memory_format=torch.channels_last)
    close(solve_triangular_conv2d(last, weight, **case.arguments), x, torch.float32)
    out = torch.empty(*z.shape[:3], 2 * z.shape[3], device=GPU)[..., ::2]
    solve_triangular_conv2d(z, weight, out=out, **case.arguments)
    close(out, x, torch.float32)
    solve_triangular_conv2d(z, weight, out=z, **case.arguments)
    close(z, x, torch.float32)
    z = triangular_conv2d(z, weight, out=z, **case.arguments)
    error = relative_error(z.cpu(), both(case, torch.float32)[0].cpu())
    assert error <= allowed_residual(torch.float32)


def test_gradients():
    for case in (Case(2, 2, (2, 3), (3, 4)), Case(2, 2, (3, 3), (4, 3), "center", True)):
        z, weight = (tensor.to(GPU) for tensor in make(case, poison=False))
        z, weight = z.requires_grad_(), weight.requires_grad_()
        for function in (solve_triangular_conv2d, triangular_conv2d):

            def call(*tensors, function=function, case=case):
                return function(*tensors, method="compiled", **case.arguments)

            assert torch.autograd.gradcheck(call, (z, weight))
            assert torch.autograd.gradgradcheck(call, (z, weight))


@pytest.mark.parametrize("inverse", [False, True])
def test_opcheck(inverse):
    case = Case(2, 2, (3, 3), (4, 5))
    z, weight = (tensor.to(GPU).requires_grad_() for tensor in make(case, poison=False))
    arguments = (z, weight, [2, 2], [0, 3], False, inverse, "compiled")
    torch.library.opcheck(triangular_op, arguments)


@pytest.mark.parametrize("case", [LARGE[0], LARGE[3], LARGE[4]], ids=str)
def test_a_graph_replays_with_new_values(case):
    z, weight, _ = both(case, torch.float32)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(2):
            solve_triangular_conv2d(z, weight, **case.arguments)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        x = solve_triangular_conv2d(z, weight, **case.arguments)
        again = triangular_conv2d(x, weight, **case.arguments)
    z.normal_()
    weight[..., 0, 0] *= 0.5
    graph.replay()
    torch.cuda.synchronize()
    expected = solve_triangular_conv2d(z.double().cpu(), weight.double().cpu(), **case.arguments)
    close(x, expected, torch.float32)
    close(again, z, torch.float32)


def test_the_first_call_may_be_captured():
    """Compiling and loading a specialization does not break a capture in progress."""
    case = Case(4, 3, (2, 5), (7, 9))
    z, weight, x = both(case, torch.float32)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = solve_triangular_conv2d(z, weight, **case.arguments)
    graph.replay()
    close(found, x, torch.float32)


def test_published_algorithms_refuse_a_capture():
    z, weight, _ = both(LARGE[0], torch.float32)
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        z = z + 1
        with pytest.raises(RuntimeError, match="cannot capture"):
            cuda.solve_diagonal_channel_4(z, weight, parse(z, weight, LARGE[0]))


def test_streams_and_threads():
    case = LARGE[2]
    z, weight, x = both(case, torch.float32, 8)
    found = [None] * 4

    def work(n):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            found[n] = solve_triangular_conv2d(z, weight, **case.arguments)
        stream.synchronize()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        close(one, x, torch.float32)


def test_the_current_stream_is_used():
    """What is enqueued before on the same stream is seen, although the default stream is busy."""
    case = LARGE[2]
    z, weight, x = both(case, torch.float32, 8)
    late = torch.zeros_like(z)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late.copy_(z)
        found = solve_triangular_conv2d(late, weight, **case.arguments)
    stream.synchronize()
    close(found, x, torch.float32)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_another_device():
    case = LARGE[0]
    z, weight, x = both(case, torch.float32)
    found = solve_triangular_conv2d(z.to("cuda:1"), weight.to("cuda:1"), **case.arguments)
    assert found.device.index == 1 and torch.cuda.current_device() == 0
    close(found, x, torch.float32)


@pytest.mark.parametrize(("channels", "n", "batch"), [(4, 64, 140_000), (4, 4096, 33)])
def test_offsets_beyond_31_bits(channels, n, batch):
    """More than 2³¹ elements, in one launch and in tiles; the last image is checked."""
    needed = 3 * 4 * batch * channels * n * n
    if torch.cuda.mem_get_info()[0] < needed:
        pytest.skip(f"needs {needed / 1e9:.0f} GB of free memory")
    weight = 0.1 * torch.randn(channels, 1, 3, 3, device=GPU)
    weight[:, :, 2, 2] = 1
    x = torch.empty(batch, channels, n, n, device=GPU).normal_()
    assert x.numel() > 2**31
    z = triangular_conv2d(x, weight, corners=CORNERS, method="compiled")
    last = triangular_conv2d(x[-1:], weight, corners=CORNERS, method="torch")
    close(z[-1:], last, torch.float32)
    solve_triangular_conv2d(z, weight, corners=CORNERS, method="compiled", out=z)
    for image in (0, batch // 2, batch - 1):
        close(z[image], x[image], torch.float32)


def test_what_a_launch_leaves_free():
    """A kernel takes no local memory: nothing spills on this chip either."""
    z, weight, _ = both(LARGE[2], torch.float32, 100)
    plan = plan_solve(
        sized_problem(tuple(z.shape), tuple(weight.shape), parse(z, weight, LARGE[2]), z.dtype),
        driver.chip(0),
        Forced(),
    )
    from cuda.bindings import driver as bindings

    loaded = driver.function(0, plan.source, plan.options, "solve")
    for name, most in (("NUM_REGS", 255), ("LOCAL_SIZE_BYTES", 96)):
        attribute = getattr(bindings.CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")
        status, used = bindings.cuFuncGetAttribute(attribute, loaded)
        assert not int(status) and used <= most, name


def test_launches_are_counted_as_published():
    assert published.launches((1, 48, 32, 32), (48, 12, 3, 3), four=True) == 12 * 63
    assert published.launches((1, 48, 32, 32), (48, 12, 3, 3), four=False) == 4 * 12 * 63


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_compute_sanitizer(tool):
    found = shutil.which("compute-sanitizer")
    if not found:
        pytest.skip("compute-sanitizer is not installed")
    command = [found, "--tool", tool, "--error-exitcode", "9", sys.executable, str(SANITIZED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
