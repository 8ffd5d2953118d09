"""Flows that are saved to a file and built again from it."""

import pytest
import torch

import invconv
from invconv.flows import (
    CouplingFreeFlow,
    LevelFlow,
    MaCowFG,
    MintNet,
    MultiScaleFlow,
    load,
    saving,
)
from invconv.training import CheckpointError, TrainingOptions, train

FLOWS = {
    "multiscale": lambda: MultiScaleFlow(
        "emerging", (3, 8, 8), 2, 1, 4, {"kernel_size": 5}, bins=32, preprocessing="scale"
    ),
    "own steps": lambda: MultiScaleFlow("macow", [1, 4, 4], 1, 1, 4, step="paper"),
    "variational": lambda: MultiScaleFlow(
        "glow",
        (1, 4, 4),
        levels=1,
        steps=1,
        width=4,
        dequantization="variational",
        dequantization_options={"steps": 1, "width": 4},
    ),
    "coupling_free": lambda: CouplingFreeFlow("cinc", (1, 8, 8), 2, 1, spline_bins=3),
    "macow_fg": lambda: MaCowFG((3, 8, 8), (1, (1, 1), 1), (4, 4, 4), conv_options={}),
    "mintnet": lambda: MintNet((1, 4, 8), 3, 16, conv_options={"newton_lr": 1.1}),
}


def images_of(flow, seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = (4, *flow.shape)
    return torch.randint(flow.dequantization.bins, size, generator=generator)


def log_prob(flow):
    flow = flow.eval()
    return flow.log_prob(images_of(flow), torch.Generator().manual_seed(0))


def changed(flow):
    """The flow with weights that no constructor makes."""
    flow.initialize(images_of(flow))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return flow


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_comes_back_is_the_same_flow(name, dtype, tmp_path):
    flow = changed(FLOWS[name]()).to(dtype)
    flow.save(tmp_path / "new" / "flow.pt")
    again = load(tmp_path / "new" / "flow.pt")
    assert type(again) is type(flow) and again.training
    assert repr(again) == repr(flow)
    assert torch.equal(log_prob(again), log_prob(flow))
    assert log_prob(again).dtype == dtype
    again.save(str(tmp_path / "again.pt"))
    assert torch.equal(log_prob(load(tmp_path / "again.pt")), log_prob(flow))


def test_what_the_caller_changes_later_is_not_saved(tmp_path):
    options = {"kernel_size": 3}
    flow = MultiScaleFlow("finc", (1, 4, 4), 1, 1, 4, options)
    options["kernel_size"] = 5
    flow.save(tmp_path / "flow.pt")
    assert torch.equal(log_prob(load(tmp_path / "flow.pt")), log_prob(flow))


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "flow.pt"
    flow = FLOWS["multiscale"]()
    flow.save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space left"):
        flow.save(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["flow.pt"]


class Mine(MultiScaleFlow):
    """A class that no file can name."""


class Pair(LevelFlow):
    def __init__(self, shape):
        super().__init__(shape, 4)


def test_flows_that_no_file_can_describe(tmp_path):
    for flow in (Mine("finc", (1, 4, 4), 1, 1, 4), Pair((1, 4, 4))):
        name = type(flow).__name__
        message = (
            rf"a file cannot name the class {name}: declare it as class {name}\(\.\.\., kind="
        )
        with pytest.raises(TypeError, match=message):
            flow.save(tmp_path / "flow.pt")
    corner = torch.tensor(2.5)
    flow = MultiScaleFlow("finc", (1, 4, 4), 1, 1, 4, {"max_growth": corner})
    with pytest.raises(TypeError, match="conv_options of this flow is"):
        flow.save(tmp_path / "flow.pt")
    assert not [*tmp_path.iterdir()]


def test_a_class_that_gives_itself_a_kind_can_be_saved(tmp_path):
    before = dict(saving.FLOWS)

    class Ours(MultiScaleFlow, kind="ours"):
        """Inherits its constructor."""

    try:
        flow = changed(Ours("glow", (1, 4, 4), 1, 1, 4))
        flow.save(tmp_path / "flow.pt")
        again = load(tmp_path / "flow.pt")
        assert type(again) is Ours
        assert torch.equal(log_prob(again), log_prob(flow))
    finally:
        saving.FLOWS.clear()
        saving.FLOWS.update(before)


def test_files_that_hold_no_flow(tmp_path):
    path = tmp_path / "flow.pt"
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*: it does not exist"):
        load(path)
    flow = FLOWS["multiscale"]()
    flow.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"flow\.pt is not a whole checkpoint"):
        load(path)
    torch.save(flow, path)  # the module itself, which would run code
    with pytest.raises(CheckpointError, match=r"flow\.pt is not a whole checkpoint"):
        load(path)
    torch.save(flow.state_dict(), path)
    with pytest.raises(CheckpointError, match="it has no 'flow'"):
        load(path)
    weights = flow.state_dict() | {"more": torch.zeros(1)}
    architecture = {"kind": "multiscale", **flow.arguments}
    torch.save({"flow": weights, "recipe": {"flow": architecture}}, path)
    with pytest.raises(CheckpointError, match="'more' has no place in this one"):
        load(path)
    for wrong, message in (({"conv": "magic"}, "unknown layer"), ({"kind": "x"}, "kind of flow")):
        recipe = {"flow": architecture | wrong}
        torch.save({"flow": flow.state_dict(), "recipe": recipe}, path)
        with pytest.raises(
            CheckpointError, match=f"cannot be built .*{message}.*import its module first"
        ):
            load(path)


def test_an_optimizer_does_not_see_what_was_loaded_elsewhere(tmp_path):
    """A copy and its original share nothing, and a copy can be saved, too."""
    import copy

    flow = copy.deepcopy(FLOWS["multiscale"]())
    flow.save(tmp_path / "flow.pt")
    again = invconv.flows.load(tmp_path / "flow.pt")
    before = log_prob(flow)
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.mul_(0.5)
    assert torch.equal(log_prob(flow), before)


def test_a_checkpoint_of_a_training_describes_its_flow(tmp_path):
    flow = MultiScaleFlow("finc", (1, 8, 8), levels=1, steps=1, width=4, bins=17)
    data = [invconv.data.load("digits", split) for split in ("train", "valid")]
    train(flow, *data, TrainingOptions(2, 16), folder=tmp_path, progress=False)
    for name in ("best.pt", "last.pt"):
        assert torch.equal(log_prob(load(tmp_path / name)), log_prob(flow))
