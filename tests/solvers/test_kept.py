"""What solvers keep of a weight that does not change."""

import copy
import threading
from unittest import mock

import pytest
import torch
from cases import Case, cases, make
from stand_in import driving, in_child

from invconv import CInC, FInC
from invconv.solvers import compiled, cuda
from invconv.solvers.convolution import convolve_torch
from invconv.solvers.kept import Kept
from invconv.solvers.problem import parse_problem
from invconv.solvers.reference import solve_reference

LARGE = [Case(4, 12, (3, 3), (16, 16)), Case(1, 24, (3, 3), (9, 8), upper=True)]


def parsed(case, batch, dtype=torch.float64):
    z, weight = make(case, batch, torch.float64)
    problem = parse_problem(z, weight, *case.arguments.values(), "z")
    return z.to(dtype), weight.to(dtype), problem


def test_nothing_is_made_for_a_first_use():
    kept, made = Kept(), []

    def make():
        made.append(1)
        return len(made)

    assert [kept.once("a", make) for _ in range(3)] == [None, 1, 1]
    assert kept.once("b", make) is None
    assert made == [1]


@pytest.mark.parametrize("lanes", ["", "samples", "pixels", "channels"])
@pytest.mark.parametrize("case", [*cases()[::7], *LARGE], ids=str)
def test_packed_taps_are_those_of_each_call(case, lanes, monkeypatch):
    monkeypatch.setitem(compiled.forced, "lanes", lanes)
    for dtype in (torch.float32, torch.float64):
        kept, (every, weight, problem) = Kept(), parsed(case, 20, dtype)
        for batch in (1, 20, 1):
            z = every[:batch]
            for run in (compiled.solve, compiled.convolve):
                fresh = run(z, weight, problem)
                for _ in range(3):
                    assert torch.equal(run(z, weight, problem, None, kept), fresh)


def test_threads_share_what_is_kept():
    z, weight, problem = parsed(LARGE[0], 2)
    kept, found = Kept(), []
    compiled.solve(z, weight, problem, None, kept)

    def work():
        for _ in range(20):
            found.append(compiled.solve(z, weight, problem, None, kept))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    truth = compiled.solve(z, weight, problem)
    assert len(found) == 80 and all(torch.equal(one, truth) for one in found)


@pytest.mark.parametrize("build", [lambda: FInC(8), lambda: CInC(6, bias=True)])
def test_a_layer_sees_every_change_of_its_weight(build):
    layer = build().eval()
    x = torch.randn(2, layer.channels, 6, 7)
    with torch.no_grad():
        for change in (
            lambda: None,
            lambda: layer.weight.add_(0.1),
            lambda: layer.weight.data.mul_(0.5),
            lambda: layer.weight.detach().numpy().__setitem__(..., 0.05),
            lambda: layer.triangular_weight().mul_(0),
            lambda: layer.load_state_dict({k: 0.9 * v for k, v in layer.state_dict().items()}),
        ):
            change()
            truth = copy.deepcopy(layer)
            for _ in range(3):
                z = layer(x)[0]
                assert torch.equal(z, truth(x)[0])
                assert torch.equal(layer.inverse(z), truth.inverse(z))


def on_a_gpu():
    for case in (Case(4, 3, (3, 3), (9, 8)), Case(1, 24, (2, 2), (5, 9), upper=True)):
        z, weight, problem = parsed(case, 3, torch.float32)
        x = solve_reference(z.double(), weight.double(), problem)
        again = convolve_torch(z.double(), weight.double(), problem)
        with driving() as one:
            kept, kernels = Kept(), []
            for _ in range(4):
                one.library.stand_in_forget()
                found = cuda.solve(z, weight, problem, None, kept)
                torch.testing.assert_close(found.double(), x, rtol=1e-4, atol=1e-4)
                kernels.append([launch[0] for launch in one.launches])
            first = ["solve"] if case.per_group <= 16 else ["fold", "solve"]
            assert kernels == [first, ["fold", "solve"], ["solve"], ["solve"]]
            one.library.stand_in_forget()
            one.stream = 7  # which has not seen what the other stream has folded
            cuda.solve(z, weight, problem, None, kept)
            assert [launch[0] for launch in one.launches] == ["fold", "solve"]
            one.library.stand_in_forget()
            with mock.patch("invconv.solvers.cuda.calls.is_capturing", lambda x: True):
                cuda.solve(z, weight, problem, None, kept)
            assert [launch[0] for launch in one.launches] == first
            found = cuda.convolve(z, weight, problem, None, kept)
            torch.testing.assert_close(found.double(), again, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real driver")
def test_taps_are_folded_once_for_each_stream_and_never_in_a_capture():
    in_child(on_a_gpu)
