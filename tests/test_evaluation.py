"""Evaluating checkpoints apart from training."""

import math
from pathlib import Path

import pytest
import torch

from invconv import assessments
from invconv.__main__ import main
from invconv.data import ImageSet, load
from invconv.training import (
    CheckpointError,
    TrainingOptions,
    bits_per_image,
    build_flow,
    evaluate,
    load_flow,
    train,
)
from invconv.training.evaluation import Assessment

FLOW = {
    "kind": "multiscale",
    "conv": "finc",
    "shape": (1, 8, 8),
    "levels": 2,
    "steps": 1,
    "width": 4,
    "bins": 17,
}


def trained(folder, seed=0, conv="finc"):
    torch.manual_seed(seed)
    architecture = FLOW | {"conv": conv}
    flow = build_flow(architecture)
    recipe = {"flow": architecture, "data": {"name": "digits"}, "method": conv, "seed": seed}
    data = [load("digits", split) for split in ("train", "valid")]
    train(flow, *data, TrainingOptions(3, 16), seed, folder, progress=False, recipe=recipe)
    return flow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cell")
    trained(folder)
    return folder


def test_a_flow_comes_back_from_either_checkpoint(folder):
    test = load("digits", "test")
    flows = [load_flow(folder / name)[0] for name in ("best.pt", "last.pt")]
    first, second = (bits_per_image(flow, test) for flow in flows)
    assert torch.equal(first, second)
    assert len(first) == len(test)
    assert evaluate(flows[0], test) == first.mean().item()


def test_more_samples_tighten_the_bound(folder):
    flow, _ = load_flow(folder / "best.pt")
    test = load("digits", "test")
    assert evaluate(flow, test) > bits_per_image(flow, test, samples=8).mean().item()


def test_data_of_another_kind_are_refused(folder):
    flow, _ = load_flow(folder / "best.pt")
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    made = "the flow is made for 1×8×8 images with 17 levels, other holds "
    with pytest.raises(ValueError, match=made + "1×8×8 images with 256 levels"):
        evaluate(flow, ImageSet("other", "test", images, 256))
    with pytest.raises(ValueError, match=made + "1×8×6 images with 17 levels"):
        evaluate(flow, ImageSet("other", "test", images[..., :6], 17))


def test_checkpoints_that_are_none(folder, tmp_path, capsys):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load_flow(tmp_path / "best.pt")
    torch.save({"flow": {}}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this kind: it has no 'recipe'"):
        load_flow(tmp_path / "best.pt")
    torch.save({"flow": {}, "recipe": {}}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="does not say of which architecture"):
        load_flow(tmp_path / "best.pt")
    assert main(["evaluate", str(folder), str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "does not say" in captured.err
    assert not captured.out
    for device in ("nothing", "cuda:99"):
        assert main(["evaluate", str(folder), "--device", device]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"{device!r} is no device here: ") and said.count("\n") == 1


def test_the_command_prints_what_was_measured(folder, tmp_path, capsys):
    trained(tmp_path / "glow", conv="glow")
    assert main(["evaluate", str(folder), str(tmp_path / "glow")]) == 0
    printed = capsys.readouterr().out
    flow, _ = load_flow(folder / "best.pt")
    bits = bits_per_image(flow, load("digits", "test"))
    line = next(line for line in printed.splitlines() if "| finc" in line)
    assert f"{bits.mean().item():.3f}" in line
    assert f"{bits.std().item() / math.sqrt(250):.4f}" in line
    assert "finc − glow: " in printed
    assert "95 % over 250 images of one training each" in printed


def made_up(method, seed, *bits):
    values = torch.tensor(bits, dtype=torch.float64)
    path = Path(f"{method}{seed}.pt")
    return Assessment(path, method, seed, method, "digits", "test", "uniform", 1, values)


def test_differences_are_paired():
    """Seeds differ by far more than the methods do; pairs show the difference all the same."""
    runs = [made_up("finc", seed, seed + 0.9, seed + 1.1 + 0.001 * seed) for seed in range(3)]
    runs += [made_up("glow", seed, seed + 0.8, seed + 1.0) for seed in range(3)]
    printed = assessments.text(runs)
    assert "finc: 2.0005 ± 1.0005 (mean ± standard deviation over 3 seeds)" in printed
    assert "finc − glow: +0.1005 [+0.0993, +0.1017], 95 % over 3 seeds: resolved" in printed
    images = assessments.text([made_up("finc", 0, 1.0, 3.0), made_up("glow", 1, 1.0, 2.9)])
    assert "over 2 images of one training each: not resolved; " in images
