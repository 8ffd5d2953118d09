"""The data sets of the reproductions' command line."""

from functools import partial

import pytest
import torch
from image_files import pixels, write_folder

from invconv.data import DATASETS
from invconv.tables.table2 import TABLE

TINY = ("preset=tiny", "budget=tiny_digits", "method=glow", "progress=false")


@pytest.fixture
def tiny(configured):
    return partial(configured, *TINY)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_configured(tiny, name):
    config = tiny(f"dataset={name}")
    given = {option for option, value in vars(config.dataset).items() if value is not None}
    assert config.dataset.name == name
    assert given <= {"name", *DATASETS[name].options}
    assert ("version" in given) == ("version" in DATASETS[name].options)
    assert TABLE.cell_of(config).startswith(f"tiny-{name}-glow-s0-")


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("preset", ["default", "tiny"])
def test_every_data_set_has_a_model_for_it(configured, name, preset):
    config = configured(f"preset={preset}", f"dataset={name}")
    assert config.budget.training.steps == DATASETS[name].budgets[preset]["training"]["steps"]


def test_what_may_not_be_compared_has_another_name(tiny):
    """2016 and eight bits are what the published figures are about."""
    published = tiny("dataset=imagenet32")
    other = tiny("dataset=imagenet32", "dataset.version=2021", "dataset.bits=5")
    assert TABLE.cell_of(other).startswith("tiny-imagenet32_2021_5bit-glow-s0-")
    assert TABLE.cell_of(published)[-8:] != TABLE.cell_of(other)[-8:]


def test_where_the_files_are_is_no_part_of_a_cell(tiny):
    assert TABLE.cell_of(tiny("dataset=cifar10")).startswith("tiny-cifar10-glow-s0-")
    cells = {
        TABLE.cell_of(tiny("dataset=cifar10", f"dataset.root={root}"))
        for root in ("null", "/a", "/b")
    }
    assert len(cells) == 1
    mine = {TABLE.cell_of(tiny("dataset=folder", f"dataset.path={path}")) for path in ("/a", "/b")}
    assert len(mine) == 2


def test_a_folder_of_ones_own_is_trained_on(table2, tiny, tmp_path):
    with pytest.raises(ValueError, match=r"folder needs a folder .*path=FOLDER in Python"):
        table2.measure(tiny("dataset=folder"), torch.device("cpu"), tmp_path)
    write_folder(tmp_path / "pictures", pixels(30, (1, 8, 8)))
    config = tiny(
        "dataset=folder",
        f"dataset.path={tmp_path / 'pictures'}",
        "dataset.bits=4",
        "budget.training.steps=2",
        "budget.training.flip=true",
        "part=train",
    )
    values = table2.measure(config, torch.device("cpu"), tmp_path / "cell")
    assert 0 < values["bpd"] < 100
    recipe = torch.load(tmp_path / "cell" / "best.pt", weights_only=True)["recipe"]
    assert recipe["flow"]["bins"] == 16
    assert recipe["data"] == {
        "name": "folder",
        "path": str(tmp_path / "pictures"),
        "bits": 4,
    }
