"""Machine code of all that tests/kernels/test_cuda.py and `invconv bench gpu` ask for.

    INVCONV_CACHE=.gpu/kernels .venv/bin/python kernels/gpu/precompile.py

Runs without a GPU. The names of the cache's files hash text, options, target and NVRTC's version,
so that a machine with the same NVRTC (13.0: torch 2.11.0+cu130) finds every file; with another one
it compiles again (0.1 to 0.4 s each), and nothing is wrong.
"""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from unittest import mock

import torch

from invconv.rows.provenance import ROOT
from invconv.solvers import cuda
from invconv.solvers.cuda import calls, driver, nvrtc, published
from invconv.solvers.cuda.forward import plan_convolve
from invconv.solvers.cuda.inverse import plan_solve
from invconv.solvers.cuda.plan import Chip, Forced, Options, SizedProblem, sized_problem
from invconv.solvers.problem import parse_problem

sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tests" / "kernels"))
import test_cuda as gpu_tests
from cases import Case, cases, make

H200 = Chip(90, 132, 232_448, 233_472)
Specialization = tuple[str, Options]
"""The kernel's file and its macros."""


def of_tests() -> Iterator[Specialization]:
    """What the calls of the tests launch."""
    large, float32 = gpu_tests.LARGE, torch.float32
    paths = [Forced(**forced) for forced in gpu_tests.PATHS]
    asked = [
        (case, 2, dtype, Forced())
        for case, dtype in product([*cases(), *large], gpu_tests.TOLERANCE)
    ]
    asked += [
        (case, 2, dtype, path)
        for case, path, dtype in product((large[1], large[6]), paths, gpu_tests.TOLERANCE)
    ]
    asked += [(large[0], batch, float32, Forced()) for batch in (1, 3, 8, 20, 100, 1025, 2000)]
    asked += [(large[2], batch, float32, Forced()) for batch in (8, 20, 100)]
    launched: list[Specialization] = []

    def launch(index: int, source: str, options: Options, *_: object) -> None:
        launched.append((source, options))

    with (
        mock.patch.object(driver, "chip", lambda index: H200),
        mock.patch.object(driver, "launch", launch),
    ):
        for case, batch, dtype, forced in asked:
            z, weight = (tensor.to(dtype) for tensor in make(case, batch, poison=False))
            problem = parse_problem(z, weight, *case.arguments.values(), "z")
            with mock.patch.object(calls, "forced", forced):
                cuda.solve(z, weight, problem)
                cuda.convolve(z, weight, problem)
    yield from launched
    for case in [case for case in cases() if case.anchor is None] + [large[0]]:
        yield _published(case)
    for n, batch in ((64, 140_000), (4096, 33)):
        yield from _both(SizedProblem(batch, 4, 1, n, n, (3, 3), (2, 2), 0, False))


def _published(case: Case) -> Specialization:
    z, weight = make(case, 2, torch.float32, poison=False)
    problem = parse_problem(z, weight, *case.arguments.values(), "z")
    shape = sized_problem(tuple(z.shape), tuple(weight.shape), problem, torch.float32)
    return published.SOURCE, replace(shape, upper=False).options


def _both(shape: SizedProblem) -> Iterator[Specialization]:
    for plan in (plan_solve(shape, H200), plan_convolve(shape, H200)):
        yield plan.source, plan.options


def of_benchmark() -> Iterator[Specialization]:
    """The benchmark's layers and models; a training step has the other triangle as well."""
    yield published.SOURCE, SizedProblem(1, 1, 1, 1, 1, (1, 1), (0, 0), 0, False).options
    layers = [(4, c // 4, 2) for c in (12, 24, 48)]
    layers += [(1, c, anchor) for c in (12, 48) for anchor in (1, 2)]
    sizes = (4, 8, 16, 32, 64, 128, 256, 512)
    for (groups, channels, a), n, batch in product(layers, sizes, (1, 2, 32, 100)):
        small = n <= 16 and batch == 32  # float64: where the models are verified
        for upper, element in product((False, True), (0, 1) if small else (0,)):
            shape = SizedProblem(batch, groups, channels, n, n, (3, 3), (a, a), element, upper)
            yield from _both(shape)
            if not upper and not element and a == 2 and batch in (1, 100):  # hot.py's
                for streamed in (False, True):
                    plan = plan_solve(shape, H200, Forced(folded=True, streamed=streamed))
                    yield plan.source, plan.options
    for groups, channels, a in layers:
        shape = SizedProblem(1, groups, channels, 1, 1, (3, 3), (a, a), 0, False)
        yield published.SOURCE, shape.options


def specializations() -> list[Specialization]:
    """All of them, each once."""
    return list(dict.fromkeys([*of_tests(), *of_benchmark()]))


def main() -> None:
    """Compiles all of them for sm_90 into the cache."""
    start = time.perf_counter()
    wanted = specializations()
    print(f"{len(wanted)} specializations", flush=True)
    with ThreadPoolExecutor(2) as pool:
        sizes = list(pool.map(lambda key: len(nvrtc.machine_code(*key, 90)), wanted))
    seconds = time.perf_counter() - start
    print(f"{sum(sizes) / 1e6:.1f} MB in {seconds:.0f} s, NVRTC {nvrtc.version()}")


if __name__ == "__main__":
    main()
