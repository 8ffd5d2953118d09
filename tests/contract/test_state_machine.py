"""Layers stay right in any order of training, evaluating, saving, loading and sampling.

All but SNF, whose inverse a step of the optimizer may break: see test_snf.py.
"""

import copy
import io
import pickle

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from invconv import available, build

SHAPE = (4, 3, 4)
OPTIONS = {
    "finc": {"kernel_size": 2},
    "cinc": {"kernel_size": 2, "bias": True},
    "emerging": {"pointwise": True, "bias": True},
    "macow": {"hidden_channels": 3},
    "woodbury": {"channel_rank": 2, "spatial_rank": 2},
    "me_woodbury": {"channel_rank": 1, "height_rank": 2, "width_rank": 2},
    "periodic": {"kernel_size": 2},
}
BOUNDED = ("cinc", "emerging", "finc", "inverse_flow")


def images(seed, batch=2):
    return torch.randn(
        batch, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


class Life(RuleBasedStateMachine):
    """A layer in float64 beside plain copies of its state: what it computes is theirs."""

    name: str
    lives = 0

    @initialize(seed=st.integers(0, 1000), bounded=st.booleans(), first=st.booleans())
    def begin(self, seed, bounded, first):
        type(self).lives += 1
        torch.manual_seed(seed)
        self.options = dict(OPTIONS.get(self.name, {}))
        if bounded and self.name in BOUNDED:
            self.options["max_growth"] = 1.5
        self.layer = self.fresh()
        if first:
            self.layer.initialize(images(seed, 4))
        self.optimizer = None
        self.saved = None

    def fresh(self):
        return build(self.name, SHAPE, **self.options).double()

    def twin(self):
        """A new layer that has never cached anything, with the same state."""
        twin = self.fresh()
        twin.load_state_dict(copy.deepcopy(self.layer.state_dict()))
        return twin.train(self.layer.training)

    @rule(seed=st.integers(0, 1000), rate=st.sampled_from([1e-3, 0.02]))
    def train_step(self, seed, rate):
        self.layer.train()
        if self.optimizer is None:
            self.optimizer = torch.optim.Adam(self.layer.parameters())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        x = images(seed)
        z, log_det = self.layer(x)
        loss = (z.square().flatten(1).sum(1) / 2 - log_det + self.layer.extra_loss(x, z)).mean()
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in self.layer.parameters())
        self.optimizer.step()

    @rule(seed=st.integers(0, 1000))
    def train_through_the_inverse(self, seed):
        self.layer.train().zero_grad()
        self.layer.inverse(images(seed)).square().mean().backward()
        with torch.no_grad():
            for parameter in self.layer.parameters():
                if parameter.grad is not None:
                    parameter.sub_(0.01 * parameter.grad.clamp(-1, 1))

    @rule()
    def evaluate(self):
        self.layer.eval()

    @rule(seed=st.integers(0, 1000), inference=st.booleans(), batch=st.integers(0, 3))
    def sample(self, seed, inference, batch):
        """What is cached while sampling is what a layer without a cache computes."""
        z = images(seed, batch)
        before = z.clone()
        with torch.inference_mode() if inference else torch.no_grad():
            found = (self.layer.inverse(z), *self.layer(z))
            truth = (self.twin().inverse(z), *self.twin()(z))
        torch.testing.assert_close(found, truth, rtol=0, atol=1e-12)
        assert torch.equal(z, before)

    @rule()
    def save(self):
        file = io.BytesIO()
        torch.save(self.layer.state_dict(), file)
        self.saved = file.getvalue()
        self.saved_z = self.outputs(self.layer)

    @precondition(lambda self: self.saved is not None)
    @rule(anew=st.booleans())
    def load(self, anew):
        if anew:
            self.layer, self.optimizer = self.fresh().train(self.layer.training), None
        self.layer.load_state_dict(torch.load(io.BytesIO(self.saved), weights_only=True))
        torch.testing.assert_close(self.outputs(self.layer), self.saved_z, rtol=0, atol=1e-12)

    @rule(how=st.sampled_from([copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]))
    def copied(self, how):
        before = self.outputs(self.layer)
        self.layer, self.optimizer = how(self.layer), None
        torch.testing.assert_close(self.outputs(self.layer), before, rtol=0, atol=1e-12)

    @rule()
    def through_float32(self):
        self.layer.float().double()
        self.optimizer = None

    @rule(index=st.integers(0, 20), seed=st.integers(0, 1000))
    def change_in_place(self, index, seed):
        parameters = list(self.layer.parameters())
        parameter = parameters[index % len(parameters)]
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            parameter.add_(0.02 * noise.double())

    def outputs(self, layer):
        """z and log_det."""
        with torch.no_grad():
            return layer(images(5))

    @invariant()
    def round_trip(self):
        x = images(3)
        with torch.no_grad():
            z, log_det = self.layer(x)
            assert log_det.shape == (2,)
            assert torch.isfinite(log_det).all()
            again = self.layer.inverse(z, check=True)
        torch.testing.assert_close(again, x, rtol=0, atol=1e-6)


QUICK = ("glow", "finc", "woodbury", "cayley", "conv_exp")
"""One of each kind: products, the solver, matrices, Fourier transforms, series."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow])
        for name in available()
        if name != "snf"
    ],
)
def test_life_of_a_layer(name, record_property):
    machine = type(f"Life_{name}", (Life,), {"name": name})
    run_state_machine_as_test(machine, settings=settings(stateful_step_count=20))
    record_property("cases", machine.lives)
