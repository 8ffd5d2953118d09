"""The published sizes: every preset is composed, built, and trained for two steps."""

import pytest
import torch
from hydra import compose, initialize_config_dir

from invconv.data import ImageSet
from invconv.rows.provenance import ROOT
from invconv.sweeps import sweep

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
CASES = [
    pytest.param(name, marks=() if name == "paper_mnist" else pytest.mark.slow)
    for name in PUBLISHED
]


def configured(*overrides):
    with initialize_config_dir(str(ROOT / "reproductions" / "conf"), version_base="1.3"):
        return compose("table2", ["preset=paper", *overrides])


def test_every_budget_of_the_paper_is_here():
    budgets = (ROOT / "reproductions" / "conf" / "budget").glob("paper_*.yaml")
    names = {path.stem for path in budgets}
    timed = {name for name in names if name.startswith("paper_timing_")}
    assert names - timed == set(PUBLISHED)
    assert timed == {f"paper_timing_{dataset}" for dataset in SHAPES}


@pytest.mark.parametrize(
    ("table", "preset", "cells"),
    [
        ("table2", "smoke", 20),
        pytest.param("table2", "embedded_long", 100, marks=pytest.mark.slow),
        ("table2", "paper", 40),
        ("table2", "paper_timing", 24),
        ("table3", "paper", 3),
        ("table4", "paper", 8),
        pytest.param("figure4", "paper", 70, marks=pytest.mark.slow),
    ],
)
def test_a_preset_alone_is_a_whole_sweep(table, preset, cells):
    script = ROOT / "reproductions" / f"{table}.py"
    assert len(sweep.compose(script, [f"preset={preset}"])) == cells


def test_a_preset_that_does_not_know_the_data_set(reproduce):
    done = reproduce("table2.py", "preset=embedded_long", "dataset=mnist", "method=glow")
    assert done.returncode == 2
    assert "there is no value for budget.levels, budget.steps" in done.stderr
    assert "Traceback" not in done.stderr


def test_paper_timing_needs_no_data(table2, tmp_path):
    overrides = ["preset=paper_timing", "dataset=mnist", "method=finc", "budget.width=4"]
    with initialize_config_dir(str(ROOT / "reproductions" / "conf"), version_base="1.3"):
        config = compose("table2", [*overrides, "budget.steps=1", "timing.images=3"])
    assert (config.trained, config.budget.levels) == (False, 2)
    values = table2.measure(config, torch.device("cpu"), tmp_path)
    assert "bpd" not in values
    assert values["timed_images"] == 3
    assert min(values["ft_s"], values["st_s"], values["st_published_s"]) > 0
    assert values["free_parameters"] < values["parameters"]


@pytest.mark.parametrize("budget", CASES)
def test_two_steps(table2, monkeypatch, tmp_path, budget):
    dataset, levels, steps, parameters = PUBLISHED[budget]
    config = configured(
        "dataset=digits",
        f"budget={budget}",
        "method=finc",
        "budget.training.steps=2",
        "budget.training.batch_size=2",
        "timing.repeats=0",
        "progress=false",
    )
    assert (config.budget.levels, config.budget.steps, config.budget.width) == (levels, steps, 512)

    def noise(name, split, *_, **__):
        generator = torch.Generator().manual_seed(len(split))
        size = (4, *SHAPES[dataset])
        images = torch.randint(256, size, dtype=torch.uint8, generator=generator)
        return ImageSet(name, split, images, 256)

    monkeypatch.setattr(table2, "load", noise)
    values = table2.measure(config, torch.device("cpu"), tmp_path)
    assert values["parameters"] == parameters or parameters is None
    assert 0 < values["bpd"] < 1000
    names = ("part_round_trip_error", "round_trip_error_float64", "round_trip_error")
    assert next(values[name] for name in names if name in values) < 1e-3
    assert (tmp_path / "last.pt").exists()
