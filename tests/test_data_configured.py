"""The data sets of the reproductions' command line."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from image_files import pixels, write_folder

from invconv.data import DATASETS
from invconv.rows.provenance import ROOT
from invconv.sweeps.sweep import identify

CONF = ROOT / "reproductions" / "conf"
TINY = ("preset=tiny", "budget=tiny_digits", "method=glow", "progress=false")


def configured(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("table2", [*TINY, *overrides])


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_configured(table2, name):
    config = configured(f"dataset={name}")
    given = {option for option, value in config.dataset.items() if value is not None}
    assert config.dataset.name == name
    assert given <= {"name", *DATASETS[name]}
    assert ("version" in given) == ("version" in DATASETS[name])
    assert table2.label(config) == f"tiny-{name}-glow-s0"
    assert {path.stem for path in (CONF / "dataset").glob("*.yaml")} == set(DATASETS)


def test_what_may_not_be_compared_has_another_name(table2):
    """2016 and eight bits are what the published figures are about."""
    published = configured("dataset=imagenet32")
    other = configured("dataset=imagenet32", "dataset.version=2021", "dataset.bits=5")
    assert table2.label(other) == "tiny-imagenet32_2021_5bit-glow-s0"
    assert identify(published, "cell")[0] != identify(other, "cell")[0]


def test_where_the_files_are_is_no_part_of_a_cell(table2):
    assert table2.label(configured("dataset=cifar10")) == "tiny-cifar10-glow-s0"
    cells = {
        identify(configured("dataset=cifar10", f"dataset.root={root}"), "cell")[0]
        for root in ("null", "/a", "/b")
    }
    assert len(cells) == 1
    mine = {
        identify(configured("dataset=folder", f"dataset.path={path}"), "cell")[0]
        for path in ("/a", "/b")
    }
    assert len(mine) == 2


def test_a_folder_of_ones_own_is_trained_on(table2, tmp_path):
    with pytest.raises(ValueError, match="folder needs path="):
        table2.measure(configured("dataset=folder"), torch.device("cpu"), tmp_path)
    write_folder(tmp_path / "pictures", pixels(30, (1, 8, 8)))
    config = configured(
        "dataset=folder",
        f"dataset.path={tmp_path / 'pictures'}",
        "dataset.bits=4",
        "budget.training.steps=2",
        "budget.training.flip=true",
        "timing.repeats=0",
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
