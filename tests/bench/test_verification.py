"""Whatever is wrong with an inverse is refused before anything is timed, for every method."""

import copy
from functools import partial
from types import MethodType

import pytest
import torch

from invconv.bench import Clock, layer_timing
from invconv.bench import ladder as rungs
from invconv.bench.flow_timing import published_inverses, verify_flow
from invconv.bench.verification import EXACT, verify_parts
from invconv.flows import MultiScaleFlow
from invconv.flows.coupling import AffineCoupling
from invconv.methods import method, methods
from invconv.rows import Incorrect, Status
from invconv.sweeps.config import QUICK
from invconv.tables.table import tables

CPU = torch.device("cpu")
METHODS = [name for name, one in methods().items() if one.swept or one.step == "paper"]
TIMED = {
    "table2",
    "table3",
    "table4",
    "figure4",
    "scaling",
    "ladder",
    "clock",
    "gpu",
    "versus",
    "memory",
}


def small_flow(name, shape=(1, 8, 8), levels=2, steps=1):
    one = method(name)
    torch.manual_seed(0)
    options, step = dict(one.options), one.step
    flow = MultiScaleFlow(one.conv, shape, levels, steps, 8, options, bins=17, step=step).eval()
    images = torch.randint(17, (4, *shape))
    flow.initialize(images)
    return flow, images


@pytest.mark.parametrize("name", METHODS)
def test_a_right_flow_passes_and_keeps_its_weights(name):
    flow, images = small_flow(name)
    before = copy.deepcopy(flow.state_dict())
    found = verify_flow(flow, images)
    assert 0 < found["perturbed_round_trip_error"] < 1e-4
    assert found["perturbed_round_trip_error_float64"] < EXACT
    assert found["log_det_error"] < 1e-8
    assert found["perturbed_log_det_omitted"] == 0
    assert found["verified_scale"] == 0.02
    for key, value in flow.state_dict().items():
        assert torch.equal(value, before[key]), key
    with published_inverses(flow) as known:
        assert known == ("published_round_trip_perturbed" in found)


def identity(self, z):
    return z


def slightly_off(self, z):
    return 1.01 * type(self).inverse(self, z)


def of_another(self, z):
    """The inverse of a part of the same class with other weights."""
    other = copy.deepcopy(self)
    generator = torch.Generator().manual_seed(1)
    for parameter in other.parameters():
        noise = torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
        parameter.add_(0.02 * noise.to(parameter.dtype))
    return type(self).inverse(other, z)


def mutated():
    """Each method with three ways to be wrong; two of the three in `make test-full` alone."""
    for i, name in enumerate(METHODS):
        for j, mutation in enumerate((identity, slightly_off, of_another)):
            marks = [] if i % 3 == j else [pytest.mark.slow]
            yield pytest.param(name, mutation, marks=marks, id=f"{mutation.__name__}-{name}")


@pytest.mark.parametrize(("name", "mutation"), list(mutated()))
def test_every_wrong_inverse_of_every_part_is_refused(name, mutation):
    """No exceptions: each part with parameters."""
    flow, images = small_flow(name)
    count = 0
    for _, part in flow.parts():
        if next(part.parameters(), None) is not None:
            part.inverse = MethodType(mutation, part)  # a copy of the part has it as its own
            with pytest.raises(Incorrect):
                verify_flow(flow, images)
            del part.inverse
            count += 1
    assert count >= 6
    verify_flow(flow, images)


def off(self, x):
    z, log_det = type(self).forward(self, x)
    return z, log_det + 0.1


@pytest.mark.parametrize("name", METHODS)
def test_every_wrong_log_det_is_refused(name):
    flow, images = small_flow(name)
    for _, part in flow.parts():
        if next(part.parameters(), None) is not None:
            part.forward = MethodType(off, part)
            with pytest.raises(Incorrect, match="log_det of level"):
                verify_parts(flow, images)
            del part.forward


def test_an_untrained_coupling_says_nothing_until_it_is_perturbed():
    """What the verification by round trip alone has missed: every coupling's inverse is gone."""
    flow, images = small_flow("finc")
    for _, part in flow.parts():
        if part.label == "AffineCoupling":
            part.inverse = lambda z: z
    y = flow.dequantization(images, torch.float32)[0]
    torch.testing.assert_close(flow.decode(flow.encode(y)[0]), y, rtol=1e-4, atol=1e-4)
    with pytest.raises(Incorrect, match="AffineCoupling"):
        verify_flow(flow, images)


def test_a_part_whose_weights_do_nothing_is_refused(monkeypatch):
    flow, images = small_flow("finc")
    monkeypatch.setattr(AffineCoupling, "forward", lambda self, x: (x, x.new_zeros(len(x))))
    monkeypatch.setattr(AffineCoupling, "_inverse", lambda self, z: z)
    with pytest.raises(Incorrect, match="leaves its input as it is"):
        verify_flow(flow, images)


def test_a_float32_path_of_its_own_is_verified():
    flow, images = small_flow("finc")
    _, part = next((i, part) for i, part in flow.parts() if part.label == "FInC")

    def wrong(self, z):
        return type(self).inverse(self, z) * (1.01 if z.dtype == torch.float32 else 1)

    part.inverse = MethodType(wrong, part)
    with pytest.raises(Incorrect):
        verify_parts(flow, images)


def test_the_papers_algorithm_is_verified_as_ours():
    flow, images = small_flow("finc")
    _, part = next((i, part) for i, part in flow.parts() if part.label == "FInC")

    def wrong(self, z):
        factor = 1.01 if self.inverse_method == "published" else 1
        return factor * type(self).inverse(self, z)

    part.inverse = MethodType(wrong, part)
    verify_parts(flow, images)
    with pytest.raises(Incorrect):
        verify_flow(flow, images)


def quick(table, **settings):
    """A configuration of a timed table at tiny size."""
    found = tables()[table].config(runs="", results="", clock=Clock(**QUICK), **settings)
    return found


def table2(name):
    from invconv.sweeps.config import ChosenMethod
    from invconv.tables.table2_config import Table2
    from invconv.tables.trained import Budget, Dataset
    from invconv.training import TrainingOptions

    budget = Budget(2, 1, 4, TrainingOptions(steps=1))
    one = method(name)
    asked = ChosenMethod(one.name, one.conv, one.step, dict(one.options))
    where = {"runs": "", "results": "", "clock": Clock(**QUICK), "images": 2}
    return Table2(
        part="time",
        method=asked,
        dataset=Dataset("digits"),
        budget=budget,
        methods=[name],
        **where,
    )


def versus():
    from invconv.tables.trained import Budget
    from invconv.tables.versus_config import Versus
    from invconv.training import TrainingOptions

    where = {"runs": "", "results": "", "clock": Clock(**QUICK), "batch": 2}
    budget = Budget(2, 1, 4, TrainingOptions(steps=1))
    return Versus(part="models", points=["n8k3"], budget=budget, **where)


def memory():
    from invconv.sweeps.config import ChosenMethod
    from invconv.tables.memory import Memory
    from invconv.tables.trained import Budget, Dataset
    from invconv.training import TrainingOptions

    where = {"runs": "", "results": "", "clock": Clock(**QUICK), "images": 2}
    budget = Budget(2, 1, 4, TrainingOptions(steps=1))
    finc = ChosenMethod("finc", "finc")
    return Memory(method=finc, dataset=Dataset("cifar10"), budget=budget, **where)


FLOWS = {
    "memory": [memory],
    "versus": [versus],
    "table2": [partial(table2, name) for name in METHODS],
    "table3": [
        partial(quick, "table3", width=4, steps=1, images=2, models=[model])
        for model in ("macow_fg", "finc_k28")
    ],
    "figure4": [
        partial(quick, "figure4", width=4, size="8x8", batches=[1], methods=[name])
        for name in ("glow", "finc", "emerging", "cinc", "macow")
    ],
    "table4": [partial(quick, "table4", width=4, size="mnist", images=1)],
    "clock": [partial(quick, "clock", images=2)],
}
"""Timed tables of whole models → configurations of theirs with one part each."""


def wrong_in_tables(first):
    """Each model of each table with a factor of 1.01, and with the identity.

    The latter, and all but the ``first`` models of a table, in `make test-full` alone.
    """
    for mutation in ("factor", "identity"):
        for table, makes in FLOWS.items():
            for i, make in enumerate(makes):
                quick = mutation == "factor" and i < first
                marks = [] if quick else [pytest.mark.slow]
                yield pytest.param(
                    table, make, mutation, marks=marks, id=f"{mutation}-{table}-{i}"
                )


@pytest.mark.parametrize(("table", "make", "mutation"), list(wrong_in_tables(first=1)))
def test_no_timed_table_takes_a_wrong_coupling(monkeypatch, table, make, mutation):
    """All couplings of a model; they do not depend on its convolutions."""
    from invconv.flows.coupling import QuadCoupling, Split
    from invconv.flows.macow_steps import GatedCoupling

    for kind in (AffineCoupling, QuadCoupling, GatedCoupling, Split):
        monkeypatch.setattr(kind, "_inverse", _wrong(kind._inverse, mutation))
    assert _refused(table, make())


@pytest.mark.parametrize(("table", "make", "mutation"), list(wrong_in_tables(first=99)))
def test_no_timed_table_takes_a_wrong_layer(monkeypatch, table, make, mutation):
    from invconv.conv import registered

    layers = registered().values()
    for owner in {next(c for c in kind.__mro__ if "_inverse" in vars(c)) for kind in layers}:
        monkeypatch.setattr(owner, "_inverse", _wrong(owner._inverse, mutation))
    assert _refused(table, make())


def _wrong(inverse, mutation):
    if mutation == "identity":
        return lambda self, z, *rest, **options: z
    return lambda self, *given, **options: 1.01 * inverse(self, *given, **options)


def _refused(table, config):
    try:
        block = tables()[table].measure(config, CPU, None)
    except Incorrect:
        return True
    timed = any(part.status == Status.OK for part in block.parts.values())
    return not timed and bool(block.parts) and block.samples.empty


@pytest.mark.parametrize("table", ["scaling", "ladder", "gpu"])
@pytest.mark.parametrize("mutation", ["identity", "factor", "another"])
def test_no_table_of_one_layer_takes_a_wrong_inverse(monkeypatch, table, mutation):
    solve = layer_timing.solve_triangular_conv2d

    def wrong(z, weight, *rest, out=None, **options):
        if mutation == "identity":
            return z.clone()
        other = weight.flip(0) if mutation == "another" else weight
        return solve(z, other, *rest, **options) * (1.01 if mutation == "factor" else 1)

    monkeypatch.setattr(layer_timing, "solve_triangular_conv2d", wrong)
    if table == "scaling":
        assert _refused(table, quick(table, points=["n6"], channels=8, batch=2))
    elif table == "gpu":
        from invconv.tables.gpu_session import measure_layer

        with pytest.raises(Incorrect):
            measure_layer(CPU, "finc", 8, 6, 2, 2)
    else:
        call = rungs.Rung.__call__

        def wrong_rung(self, z, weight, out):
            if mutation == "identity":
                return lambda: z
            other = weight.flip(0).contiguous() if mutation == "another" else weight
            right = call(self, z, other, out)
            return lambda: right() * (1.01 if mutation == "factor" else 1)

        monkeypatch.setattr(rungs.Rung, "__call__", wrong_rung)
        assert _refused(table, quick(table, kernels=[3], channels=8, n=6, batch=2))


def test_every_timed_table_is_here():
    """A table that times something has a place in one of the loops above."""
    timed = {
        name
        for name, table in tables().items()
        if any(column.patterns and column.unit == "s" for column in table.columns)
    }
    elsewhere = {"benchmark", "faults", "trust", "released"}  # released: test_released.py
    assert timed - elsewhere == TIMED
