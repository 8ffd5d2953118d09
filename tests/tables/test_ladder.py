"""The rungs between the release's loop and ours: one inverse, different programs."""

import pytest
import torch

from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.bench.ladder import RUNGS
from invconv.numerical import relative_error
from invconv.solvers import compiled
from invconv.solvers.problem import CORNERS

IMAGES = [(7, 5, 3), (5, 8, 2), (1, 1, 1), (1, 9, 3), (6, 11, 5), (3, 2, 5), (16, 16, 3)]
SHAPES = [
    (batch, channels, *image)
    for channels in (4, 12)
    for i, image in enumerate(IMAGES)
    for batch in ((1, 33), (3, 17))[(i + channels // 12) % 2]
]


def problem(batch=2, channels=4, height=6, width=5, k=3):
    """z and a weight in float32, whose anchor taps are not unit triangular."""
    torch.manual_seed(batch + channels + height + width + k)
    part = channels // 4
    weight = 0.3 * torch.randn(channels, part, k, k) / (part * k * k) ** 0.5
    anchor = weight[:, :, -1, -1].view(4, part, part)
    anchor.copy_(anchor.tril(-1) + torch.diag(0.8 + torch.rand(part)))
    x = torch.randn(batch, channels, height, width, dtype=torch.float64)
    z = triangular_conv2d(x, weight.double(), corners=CORNERS).float()
    return z, weight


def truth(z, weight):
    return solve_triangular_conv2d(z.double(), weight.double(), corners=CORNERS)


@pytest.mark.parametrize("name", RUNGS)
def test_every_rung_inverts(name, record_property):
    rung = RUNGS[name]
    for shape in SHAPES:
        z, weight = problem(*shape)
        before, out = z.clone(), torch.full_like(z, float("nan"))
        x = rung(z, weight, out)()
        assert x is out
        assert torch.equal(z, before)
        expected = truth(z, weight)
        assert relative_error(x, expected) < (1e-6 if rung.double else 1e-5), shape
        assert relative_error(rung(z, weight, z)(), expected) < 1e-5, f"in place, {shape}"
    record_property("cases", len(SHAPES))


@pytest.mark.parametrize("method", ["reference", "diagonal_channel", "auto"])
def test_rungs_agree_with_the_solver(method):
    z, weight = problem(3, 8, 6, 4, 3)
    expected = solve_triangular_conv2d(z, weight, corners=CORNERS, method=method)
    for name, rung in RUNGS.items():
        assert relative_error(rung(z, weight, torch.empty_like(z))(), expected) < 1e-5, name


def test_the_first_rung_is_the_published_algorithm():
    z, weight = problem(5, 12, 9, 7, 3)
    expected = solve_triangular_conv2d(z, weight, corners=CORNERS, method="diagonal_channel")
    assert torch.equal(RUNGS["release"](z, weight, torch.empty_like(z))(), expected)


@pytest.mark.parametrize("name", RUNGS)
def test_entries_that_are_not_read_do_not_matter(name):
    z, weight = problem(3, 12, 6, 4, 3)
    expected = truth(z, weight)
    anchor = weight[:, :, -1, -1].view(4, 3, 3)
    anchor.masked_fill_(torch.ones(3, 3).triu(1).bool(), float("nan"))
    x = RUNGS[name](z, weight.requires_grad_(), torch.empty_like(z))()
    assert relative_error(x, expected) < 1e-5


def test_rungs_are_distinct_programs(monkeypatch):
    """Each calls the extension once; no other with its function, type, registers and threads."""
    z, weight = problem()
    calls = []

    class Spy:
        def __getattr__(self, name):
            def call(**options):
                kind = {key: options.get(key) for key in ("item_size", "isa", "threads")}
                calls.append((name, *kind.values()))
                return getattr(extension, name)(**options)

            return call

    extension, threads = compiled.extension(), torch.get_num_threads()
    monkeypatch.setattr(compiled, "_kernels", Spy())
    try:
        torch.set_num_threads(3)
        prepared = [rung(z, weight, torch.empty_like(z)) for rung in RUNGS.values()]
        assert not calls
        for call in prepared:
            call()
        assert [kind[-1] for kind in calls] == [rung.threads for rung in RUNGS.values()]
    finally:
        torch.set_num_threads(threads)
    assert len(calls) == len(set(calls)) == len(RUNGS)


def test_each_rung_follows_one_before_it():
    names = list(RUNGS)
    assert [rung.after for rung in RUNGS.values()].count("") == 1
    for i, rung in enumerate(RUNGS.values()):
        assert rung.change
        assert rung.after in (names[:i] if i else [""])


WRONG = {
    "channels": (lambda z, weight, out: (z, weight[:3], out), "as many channels as weight has"),
    "groups": (lambda z, weight, out: (z, weight.repeat(1, 2, 1, 1), out), r"\(C, C/4, kh, kw\)"),
    "rank": (lambda z, weight, out: (z[0], weight, out), "rank 4"),
    "dtypes": (lambda z, weight, out: (z.double(), weight, out), "one dtype"),
    "float64": (lambda z, weight, out: (z.double(), weight.double(), out), "z must be float32"),
    "strides": (lambda z, weight, out: (z.mT, weight, out.mT), "z must be .* contiguous"),
    "size": (lambda z, weight, out: (z, weight, out[:1]), "out must have the shape of z"),
    "out": (lambda z, weight, out: (z, weight, out.double()), "out must be float32"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_refused_in_one_sentence(what):
    change, message = WRONG[what]
    z, weight = problem()
    for rung in RUNGS.values():
        with pytest.raises((TypeError, ValueError), match=message) as caught:
            rung(*change(z, weight, torch.empty_like(z)))
        assert "\n" not in str(caught.value)


def test_without_the_kernels_one_sentence_says_so(monkeypatch):
    z, weight = problem()
    monkeypatch.setattr(compiled, "_kernels", None)
    monkeypatch.setattr(compiled, "_reason", "no compiler")
    for rung in RUNGS.values():
        with pytest.raises(RuntimeError, match=r"^the ladder needs the compiled kernels: no comp"):
            rung(z, weight, torch.empty_like(z))
