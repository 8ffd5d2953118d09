"""Evaluating checkpoints apart from training."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from invconv import evaluations
from invconv.__main__ import main
from invconv.data import ImageSet, load
from invconv.flows import build_flow
from invconv.flows import load as load_flow
from invconv.training import (
    CheckpointError,
    TrainingOptions,
    bits_per_image,
    evaluate,
    train,
)
from invconv.training.evaluation import Evaluation

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
    flows = [load_flow(folder / name) for name in ("best.pt", "last.pt")]
    first, second = (bits_per_image(flow, test) for flow in flows)
    assert torch.equal(first, second)
    assert len(first) == len(test)
    assert evaluate(flows[0], test) == first.mean().item()


def test_more_samples_tighten_the_bound(folder):
    flow = load_flow(folder / "best.pt")
    test = load("digits", "test")
    assert evaluate(flow, test) > bits_per_image(flow, test, samples=8).mean().item()


def test_data_of_another_kind_are_refused(folder):
    flow = load_flow(folder / "best.pt")
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
    flow = load_flow(folder / "best.pt")
    bits = bits_per_image(flow, load("digits", "test"), draws=16)
    line = next(line for line in printed.splitlines() if "| finc" in line)
    assert f"{bits.mean().item():.3f}" in line
    assert f"{bits.std().item() / math.sqrt(250):.4f}" in line
    assert "digits test, minus glow: single trainings" in printed
    assert "say nothing about another training" in printed
    assert "resolved" not in printed


def made_up(method, seed, *bits):
    values = torch.tensor(bits, dtype=torch.float64)
    path = Path(f"{method}{seed}.pt")
    return Evaluation(path, method, seed, method, "digits", "test", "uniform", 1, values)


def test_differences_are_paired():
    """Seeds differ by far more than the methods do; pairs show the difference all the same."""
    runs = [made_up("finc", seed, seed + 0.9, seed + 1.1 + 0.001 * seed) for seed in range(3)]
    runs += [made_up("glow", seed, seed + 0.8, seed + 1.0) for seed in range(3)]
    printed = evaluations.text(runs)
    assert "digits test, minus glow: 3 seeds, simultaneous 95 % intervals" in printed
    line = next(line for line in printed.splitlines() if "2.0005 ± 1.0005" in line)
    assert re.search(r"finc .*\+0\.1005 \[\+0\.099., \+0\.101.\] +\| resolved", line)


def test_single_trainings_resolve_nothing():
    """However clear the images are: another training may say the opposite."""
    printed = evaluations.text([made_up("finc", 0, 1.0, 3.0), made_up("glow", 1, 0.5, 2.4)])
    assert "resolved" not in printed
    assert re.search(r"\| finc +\| 0 and 1 +\| \+0\.5500 \[\+0\.4520, \+0\.6480\]", printed)


def test_each_data_set_and_split_is_compared_by_itself():
    ones = [made_up(name, 0, 1.0, 2.0 + shift) for shift, name in enumerate(("glow", "finc"))]
    others = [replace(one, data="mnist", bits=3 * one.bits) for one in ones]
    valid = [replace(one, split="valid") for one in ones[:1]]
    printed = evaluations.text([*ones, *others, *valid])
    assert printed.count("minus glow: ") == 2
    assert "digits test, minus glow" in printed and "mnist test, minus glow" in printed


def test_folders_that_end_alike_are_two_data_sets():
    ones = [made_up(name, 0, 1.0, 2.0 + shift) for shift, name in enumerate(("glow", "finc"))]
    there = [replace(one, path_of_data="/b/train", bits=3 * one.bits) for one in ones]
    printed = evaluations.text([replace(one, path_of_data="/a/train") for one in ones] + there)
    assert "digits test of /a/train, minus glow: " in printed
    assert "digits test of /b/train, minus glow: " in printed


def test_a_method_of_two_settings_is_two():
    one, other = made_up("finc", 0, 1.0, 2.0), made_up("finc", 0, 1.0, 3.0)
    printed = evaluations.text([one, replace(other, setting="wider")])
    assert "minus finc: " in printed and "| finc (2) " in printed
