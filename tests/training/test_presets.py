"""The published sizes: every preset is composed, built, and trained for two steps."""

import sys

import pytest
import torch

from invconv.bench import Process
from invconv.data import ImageSet, budgets
from invconv.sweeps.application import run
from invconv.tables import trained
from invconv.tables.table import tables

SHAPES = {
    "mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "imagenet32": (3, 32, 32),
    "imagenet64": (3, 64, 64),
}
PUBLISHED = {
    "paper_mnist": ("mnist", 2, 16, 10_044_232),
    "paper_cifar10": ("cifar10", 3, 32, 44_944_072),
    "paper_cifar10_k28": ("cifar10", 3, 28, 39_422_968),
    "paper_imagenet32": ("imagenet32", 3, 48, 67_028_488),
    "paper_imagenet64": ("imagenet64", 4, 48, None),
    "paper_imagenet64_k32": ("imagenet64", 3, 32, 44_944_072),
}


def test_every_budget_of_the_paper_is_here():
    assert {name for name in budgets() if name.startswith("paper_")} == set(PUBLISHED)


@pytest.mark.parametrize("table", [name for name, table in tables().items() if table.config])
def test_every_table_has_a_tiny_and_a_default_preset(table):
    assert {"tiny", "default"} <= set(tables()[table].presets)


@pytest.mark.parametrize(
    ("table", "preset", "cells"),
    [
        # of all methods one cell of times per data set
        pytest.param("table2", "default", 2 * 16 + 2, marks=pytest.mark.slow),
        pytest.param("table2", "full", 2 * 16 + 2, marks=pytest.mark.slow),
        pytest.param("ranking", "ranked", 2 * 5 * 10, marks=pytest.mark.slow),
        pytest.param("coupling_free", "grid", 3 * 57, marks=pytest.mark.slow),
        pytest.param("coupling_free", "long", 6, marks=pytest.mark.slow),
        pytest.param("table2", "paper", 4 * 16 + 4, marks=pytest.mark.slow),
        pytest.param("table2", "paper part=time", 4, marks=pytest.mark.slow),
        ("table1", "default", 16),
        ("table3", "paper", 1),
        ("table4", "paper", 8),
        pytest.param("figure4", "paper", 14, marks=pytest.mark.slow),
        ("scaling", "default", 8),
        pytest.param("clock", "default", 20, marks=pytest.mark.slow),
    ],
)
def test_a_preset_alone_is_a_whole_sweep(monkeypatch, capsys, tmp_path, table, preset, cells):
    monkeypatch.chdir(tmp_path)
    command = [table, "-m", "launch=list", *f"preset={preset}".split()]
    monkeypatch.setattr(sys, "argv", command)
    assert run(tables()[table]) == 1
    assert f"{cells} cells: {cells} missing" in capsys.readouterr().out


def test_a_preset_that_does_not_know_the_data_set(reproduce):
    done = reproduce("ranking.py", "preset=ranked", "dataset=mnist", "method=glow")
    assert done.returncode == 1
    assert "there is no value for budget.levels, budget.steps" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_papers_times_need_no_data(table2, configured, tmp_path):
    overrides = ["preset=paper", "part=time", "dataset=mnist", "method=finc", "budget.width=4"]
    overrides += ["budget.steps=1", "images=3", "clock.rounds=2", "clock.processes=1"]
    config = configured(*overrides, "clock.window=0")
    assert (config.methods, config.budget.levels) == (["finc"], 2)
    block = table2.measure(config, torch.device("cpu"), tmp_path)
    assert block.values["rounds"] == 2
    (name,) = block.parts
    values = block.parts[name].values
    assert name == "finc"
    assert "bpd" not in values
    assert values["timed_images"] == 3
    assert min(values["ft_s"], values["st_s"], values["st_published_s"]) > 0
    assert values["free_parameters"] < values["parameters"]
    config.dataset.name = "folder"
    with pytest.raises(ValueError, match=r"folder needs a folder .*path=FOLDER in Python"):
        table2.measure(config, torch.device("cpu"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("budget", PUBLISHED)
def test_two_steps(table2, configured, monkeypatch, tmp_path, budget):
    dataset, levels, steps, parameters = PUBLISHED[budget]
    config = configured(
        "preset=paper",
        "dataset=digits",
        f"budget={budget}",
        "method=finc",
        "budget.training.steps=2",
        "budget.training.batch_size=2",
        "part=train",
        "progress=false",
    )
    assert (config.budget.levels, config.budget.steps, config.budget.width) == (levels, steps, 512)

    def noise(name, split, *_, **__):
        generator = torch.Generator().manual_seed(len(split))
        size = (4, *SHAPES[dataset])
        images = torch.randint(256, size, dtype=torch.uint8, generator=generator)
        return ImageSet(name, split, images, 256)

    monkeypatch.setattr(trained, "load", noise)
    values = table2.measure(config, torch.device("cpu"), tmp_path)
    assert values["parameters"] == parameters or parameters is None
    assert 0 < values["bpd"] < 1000
    names = ("part_round_trip_error", "round_trip_error_float64", "round_trip_error")
    assert next(values[name] for name in names if name in values) < 1e-3
    assert (tmp_path / "last.pt").exists()


def test_images_of_another_size_are_timed_at_that_size(table2, configured, monkeypatch):
    overrides = ["part=time", "method=glow", "images=2", "clock.rounds=1", "clock.warmup=1"]
    config = configured(*overrides, "dataset=photographs16", "clock.window=0", "budget.width=4")
    seen = []

    def flows(names, build, images, *_):
        seen.append(tuple(images.shape[1:]))
        return build(names[0])

    monkeypatch.setattr(table2, "time_flows", flows)
    table2.time_all(config, torch.device("cpu"), Process())
    assert seen == [(3, 16, 16)]
    assert config.budget.levels == 2
