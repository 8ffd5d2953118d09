"""Methods that are trained from one seed begin with the same weights in what they share."""

import pytest
import torch

from invconv.flows import AffineCoupling, CouplingFreeFlow, MultiScaleFlow
from invconv.layers import Glow1x1
from invconv.methods import methods
from invconv.report.grids import swept


def flow(name, seed=3, **options):
    torch.manual_seed(seed)
    conv = methods()[name]
    given = {"levels": 2, "steps": 2, "width": 8} | options
    return MultiScaleFlow(conv.conv, (1, 8, 8), conv_options=conv.options, **given)


def weights(flow, kind):
    return [p for part in flow.modules() if isinstance(part, kind) for p in part.parameters()]


@pytest.mark.parametrize("name", swept())
def test_couplings_and_the_mixing_are_those_of_glow(name):
    glow, other = flow("glow"), flow(name)
    for kind in (AffineCoupling, Glow1x1):
        ours, theirs = weights(other, kind)[-100:], weights(glow, kind)
        if kind is Glow1x1 and name in ("emerging", "emerging_raster"):
            ours = [p for p in ours if p.ndim == 2]
        assert len(ours) == len(theirs) > 0
        assert all(map(torch.equal, ours, theirs))


def test_places_and_seeds_differ():
    couplings = [p for p in weights(flow("finc"), AffineCoupling) if p.ndim == 4 and p.any()]
    first = [p for p in couplings if p.shape == couplings[0].shape]
    assert len(first) > 1
    assert len({tuple(p.flatten().tolist()) for p in first}) == len(first)
    other = weights(flow("finc", seed=4), AffineCoupling)
    assert not torch.equal(next(p for p in other if p.ndim == 4 and p.any()), couplings[0])


def test_the_second_flow_of_a_program_is_another_one():
    torch.manual_seed(0)
    flows = [MultiScaleFlow("finc", (1, 8, 8), 2, 1, 4) for _ in range(2)]
    first, second = (weights(one, Glow1x1)[0] for one in flows)
    assert not torch.equal(first, second)


def test_building_a_flow_draws_one_number():
    torch.manual_seed(0)
    torch.randint(2**31, ())
    expected = torch.rand(3)
    for name in ("glow", "macow"):
        torch.manual_seed(0)
        flow(name, seed=0)
        assert torch.equal(torch.rand(3), expected)


def test_layers_of_a_coupling_free_flow_have_streams_of_their_own():
    torch.manual_seed(0)
    one = CouplingFreeFlow("finc", (1, 8, 8), blocks=2, layers=2)
    torch.manual_seed(0)
    other = CouplingFreeFlow("cinc", (1, 8, 8), blocks=2, layers=2)
    splines = [[p for n, p in x.named_parameters() if "slopes" in n] for x in (one, other)]
    assert all(map(torch.equal, *splines))
