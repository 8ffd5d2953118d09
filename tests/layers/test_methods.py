"""What layers and data sets say of themselves, and the registries made from it."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from invconv import FInC, conv, register
from invconv.conv import About, Variant, build, layer_class
from invconv.data import DATASETS, DataSet, ImageSet, budgets, data_set, fetch, load
from invconv.data import register as register_data
from invconv.data.published_sets import PUBLISHED_SETS, PublishedSet
from invconv.flows import published
from invconv.methods import COLOR, MARKER, Method, method, methods
from invconv.training import TrainingOptions

K3 = {"kernel_size": 3}
# A cell's name is a hash of its configuration: what stands here must never change.
SWEPT = {
    "glow": ("glow", {}),
    "finc": ("finc", K3),
    "emerging": ("emerging", K3),
    "emerging_raster": ("emerging", K3 | {"mask": "raster"}),
    "cinc": ("cinc", K3),
    "inverse_flow": ("inverse_flow", K3),
    "woodbury": ("woodbury", {}),
    "me_woodbury": ("me_woodbury", {}),
    "periodic": ("periodic", K3),
    "macow": ("macow", {}),
    "butterfly": ("butterfly", {}),
    "cayley": ("cayley", K3),
    "conv_exp": ("conv_exp", K3),
    "skew_exp": ("skew_exp", K3),
    "snf": ("snf", K3),
    "mintnet": ("mintnet", K3 | {"latent_multiplier": 4}),
}
PAPER = {
    "glow_paper": ("glow", {"parametrization": "plain"}),
    "finc_paper": ("finc", K3),
    "emerging_paper": ("emerging", K3),
    "cinc_paper": ("cinc", K3),
    "inverse_flow_paper": ("inverse_flow", K3),
    "woodbury_paper": ("woodbury", {}),
    "me_woodbury_paper": ("me_woodbury", {}),
    "periodic_paper": ("periodic", K3),
    "macow_paper": ("macow", {}),
    "mintnet_net": ("mintnet", {}),
}
OTHERS = {
    "finc_bounded": ("finc", K3 | {"max_growth": 4.0}),
    "finc_published": ("finc", K3 | {"inverse_method": "published"}),
    "conv_exp_released": ("conv_exp", K3 | {"terms": "released"}),
    "nflows_1x1": ("nflows_1x1", {}),
    "normflows_1x1": ("normflows_1x1", {}),
}

COSINE = {"batch_size": 64, "learning_rate": 2e-3, "schedule": "cosine"}
SHORT = {"warmup_steps": 20, "evaluate_every": 100, "checkpoint_every": 100, **COSINE}
RANKED = {"warmup_steps": 100, "evaluate_every": 500, "checkpoint_every": 500, **COSINE}
TINY = {"steps": 3, "batch_size": 16, "learning_rate": 1e-3, "warmup_steps": 1}
TINY |= {"schedule": "cosine", "evaluate_every": 3, "checkpoint_every": 3}
ADAM = {"learning_rate": 1e-3, "warmup_steps": 1000, "grad_clip": 1.0}
TRAINING = {
    "paper_mnist": ADAM
    | {"steps": 20_000, "batch_size": 250, "evaluate_every": 200, "checkpoint_every": 1000},
    "paper_cifar10": ADAM
    | {"steps": 50_000, "batch_size": 400, "evaluate_every": 100, "checkpoint_every": 1000}
    | {"flip": True, "affine": 0.04},
    "paper_imagenet32": ADAM
    | {"steps": 210_000, "batch_size": 300, "evaluate_every": 4200, "checkpoint_every": 1000}
    | {"schedule": "step", "decay": 0.1, "decay_every": 105_000},
    "paper_imagenet64": ADAM
    | {"steps": 1_260_000, "batch_size": 10, "evaluate_every": 63_000, "checkpoint_every": 5000},
}
BUDGETS = {
    "default_digits": (2, 4, 64, SHORT | {"steps": 150}),
    "full_digits": (2, 4, 64, SHORT | {"steps": 600}),
    "tiny_digits": (2, 1, 4, TINY),
    "default_photographs": (3, 4, 64, SHORT | {"steps": 150}),
    "default_photographs16": (2, 4, 64, SHORT | {"steps": 150}),
    "full_photographs": (3, 4, 64, SHORT | {"steps": 200}),
    "tiny_photographs": (3, 1, 4, TINY),
    "ranked_photographs": (2, 4, 32, RANKED | {"steps": 2000}),
    "long_photographs": (2, 4, 32, RANKED | {"steps": 8000}),
    "ranked_fashion_mnist": (2, 4, 32, RANKED | {"steps": 4000}),
    "long_fashion_mnist": (2, 4, 32, RANKED | {"steps": 16000}),
    "default_folder": (3, 4, 64, SHORT | {"steps": 150}),
    "tiny_folder": (3, 1, 4, TINY),
    "paper_mnist": (2, 16, 512, TRAINING["paper_mnist"]),
    "paper_cifar10": (3, 32, 512, TRAINING["paper_cifar10"]),
    "paper_cifar10_k28": (3, 28, 512, TRAINING["paper_cifar10"]),
    "paper_imagenet32": (3, 48, 512, TRAINING["paper_imagenet32"]),
    "paper_imagenet64": (4, 48, 512, TRAINING["paper_imagenet64"]),
    "paper_imagenet64_k32": (3, 32, 512, TRAINING["paper_imagenet64"]),
}


@pytest.fixture
def registries(monkeypatch):
    """What a test registers is gone afterwards."""
    monkeypatch.setattr(conv, "_REGISTRY", dict(conv._REGISTRY))
    before = [(known, dict(known)) for known in (DATASETS, PUBLISHED_SETS)]
    yield
    for known, entries in before:
        known.clear()
        known.update(entries)


def test_methods_are_those_of_all_rows_so_far():
    expected = SWEPT | PAPER | OTHERS
    assert list(methods()) == list(expected)
    for name, (layer, options) in expected.items():
        one = methods()[name]
        assert (one.name, one.conv, dict(one.options)) == (name, layer, options)
        step = "net" if name == "mintnet_net" else "paper"
        assert one.step == (step if name in PAPER else "common")
        assert one.swept == (name in SWEPT)
    built_in = [name for name in expected if not name.endswith("_1x1")]
    for one in map(method, built_in):
        build(one.conv, (4, 8, 8), **one.options)
        assert one.paper.count("arXiv ") == 1
        assert 2018 <= one.year <= 2025


def test_titles_and_looks():
    titles = {
        "glow": "Glow",
        "emerging_raster": "Emerging (raster mask)",
        "me_woodbury_paper": "ME-Woodbury, own step",
        "finc_bounded": "finc_bounded",
        "mintnet": "MintNet",
        "nflows_1x1": "nflows_1x1",
    }
    assert {name: method(name).title for name in titles} == titles
    assert (method("finc").color, method("finc").marker) == ("#CC6677", "s")
    assert method("finc_paper").color == method("finc").color
    assert method("emerging_raster").color != method("emerging").color
    assert (method("finc_bounded").color, method("finc_bounded").marker) == (COLOR, MARKER)


def test_an_unknown_method_is_its_name():
    assert method("mine_paper") == Method("mine_paper", "mine_paper", title="mine_paper")
    assert (method("mine_paper").color, method("mine_paper").marker) == ("#777777", ".")


def test_listing_imports_no_other_package():
    """Asking for one method does."""
    code = (
        "import sys; from invconv.methods import method, methods\n"
        "assert methods()['nflows_1x1'].paper == '' and 'normflows_1x1' in methods()\n"
        "assert not {'nflows', 'normflows'} & set(sys.modules)\n"
        "assert 'Durkan' in method('nflows_1x1').paper and 'nflows' in sys.modules\n"
        "assert 'normflows' not in sys.modules\n"
        "assert methods()['nflows_1x1'] == method('nflows_1x1')\n"
        "print(*list(methods())[-2:])"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed.split() == ["nflows_1x1", "normflows_1x1"]


@pytest.mark.usefixtures("registries")
def test_a_package_that_cannot_be_imported_has_its_name(monkeypatch):
    monkeypatch.setattr("invconv.methods._installed", lambda: frozenset({"lost"}))

    def lost(name):
        raise ImportError(name)

    monkeypatch.setattr("invconv.methods.layer_class", lost)
    assert method("lost") == methods()["lost"] == Method("lost", "lost", title="lost")
    assert list(methods())[-1] == "lost"


@pytest.mark.usefixtures("registries")
def test_a_layer_of_ones_own():
    """Its base class says nothing of it."""

    @register("plain")
    class Plain(FInC):
        pass

    @register("mine")
    class Mine(FInC):
        about = About(
            "Mine",
            "arXiv 0000.00000",
            2030,
            color="#123456",
            variants={
                "mine": Variant({"kernel_size": 5}),
                "mine_paper": Variant(step="paper", swept=False),
                "mine_fast": Variant(marker="x", swept=False),
            },
        )

    assert method("plain") == Method("plain", "plain", title="Plain")
    names = list(methods())
    assert names.index("mine") == names.index("mintnet") + 1 < names.index("glow_paper")
    assert names.index("mine_paper") == names.index("mintnet_net") + 1
    assert names[-4:] == ["plain", "mine_fast", "nflows_1x1", "normflows_1x1"]
    mine = method("mine")
    assert (mine.title, mine.year, mine.color, mine.marker) == ("Mine", 2030, "#123456", ".")
    assert mine.swept
    assert build(mine.conv, (4, 8, 8), **mine.options).kernel_size == 5
    assert method("mine_paper").title == "Mine, own step"
    assert (method("mine_fast").title, method("mine_fast").marker) == ("mine_fast", "x")

    @register("brief")
    class Brief(FInC):
        about = About("Brief", "", 2030)

    assert method("brief").title == "Brief"
    assert method("brief").swept


@pytest.mark.usefixtures("registries")
def test_two_layers_cannot_share_a_variant():
    @register("copied")
    class Copied(FInC):
        about = FInC.about

    with pytest.raises(ValueError, match="finc and copied both have a variant 'finc'"):
        methods()


@pytest.mark.usefixtures("registries")
def test_one_layer_of_two_names_is_one_method():
    before = methods()
    register("finc_too")(FInC)
    assert methods() == before
    assert layer_class("finc_too") is FInC


@pytest.mark.usefixtures("registries")
def test_a_loaded_layer_of_a_package_is_in_no_default_sweep(monkeypatch):
    @register("theirs")
    class Theirs(FInC):
        about = About("Theirs", "", 2030)

    assert methods()["theirs"].swept
    monkeypatch.setattr("invconv.methods._installed", lambda: frozenset({"theirs"}))
    assert method("theirs").title == "Theirs"
    assert not method("theirs").swept
    assert list(methods())[-1] == "theirs"


def test_budgets_are_those_of_all_rows_so_far():
    given = budgets()
    for name, (levels, steps, width, training) in BUDGETS.items():
        size = {"levels": levels, "steps": steps, "width": width}
        assert given[name] == size | {"training": training}, name
    for name in set(given) - set(BUDGETS):
        preset, _, data = name.partition("_")
        assert preset in ("default", "full", "tiny")
        assert data == "photographs16" or DATASETS[data].load is None
    for each in given.values():
        TrainingOptions(**each["training"])


def test_data_sets_are_those_of_all_rows_so_far():
    versions = {"imagenet32": {"version": 2016}, "imagenet64": {"version": 2016}}
    names = ["digits", "photographs", "fashion_mnist", "mnist", "cifar10"]
    assert list(DATASETS) == [*names, "imagenet32", "imagenet64", "celeba", "folder"]
    assert {name: data.defaults for name, data in DATASETS.items() if data.defaults} == versions
    published_ones = [name for name, data in DATASETS.items() if data.published]
    assert published_ones == ["mnist", "cifar10", "imagenet32", "imagenet64"]
    assert [data.title for data in DATASETS.values() if data.published] == [
        "MNIST",
        "CIFAR-10",
        "ImageNet-32",
        "ImageNet-64",
    ]
    for name, data in DATASETS.items():
        assert data.name == name
        assert set(data.defaults) <= set(data.options)
        assert {preset.shape for preset in data.published_sets.values()} <= {data.shape}
        assert data.embedded == (name in ("digits", "photographs"))
        if data.embedded:
            images = load(name, "test")
            assert (images.shape, images.levels) == (data.shape, data.levels)
        elif name != "folder":
            assert data.levels == 256
    assert (DATASETS["folder"].shape, DATASETS["folder"].levels) == (None, None)


@pytest.mark.usefixtures("registries")
def test_a_data_set_of_ones_own():
    def stripes(split, phase=0):
        images = torch.arange(8).add(phase).remainder(2).expand(6, 1, 8, 8)
        return ImageSet("stripes", split, images.byte(), 2)

    data = DataSet("stripes", "stripes 8×8", ("phase",), shape=(1, 8, 8), levels=2, load=stripes)
    assert register_data(data) is data_set("stripes") is data
    assert register_data(data) is data
    assert not load("stripes", "train").images[..., 0].any()
    assert load("stripes", "train", phase=1).images[..., 0].all()
    with pytest.raises(TypeError, match="stripes has no option 'bits'; known: phase"):
        load("stripes", "train", bits=5)
    with pytest.raises(ValueError, match="stripes is not fetched"):
        fetch("stripes")
    assert data.budgets == DATASETS["digits"].budgets
    assert budgets()["tiny_stripes"]["levels"] == 2
    large = replace(data, shape=(3, 64, 32))
    assert DataSet("l", "l", shape=(3, 64, 32)).budgets["default"]["levels"] == 3
    with pytest.raises(ValueError, match="the name 'stripes' is taken by another data set"):
        register_data(large)
    with pytest.raises(ValueError, match=r"unknown data set 'stripe'; known: .*stripes"):
        load("stripe", "train")


@pytest.mark.usefixtures("registries")
def test_a_data_set_of_ones_own_that_is_read_from_files():
    tiles = PublishedSet("tiles", (1, 4, 4), {"train": 3, "test": 2}, elsewhere="draw it")
    register_data(DataSet("tiles", "tiles", ("path",), published_sets={"tiles": tiles}))
    with pytest.raises(FileNotFoundError, match=r"tiles is not .*draw it into ROOT/tiles"):
        load("tiles", "test", root="/nowhere")


def test_published_sizes():
    """The numbers of parameters that they give are checked in test_presets and test_macow."""
    assert published.FINC["imagenet64_k32"] == (3, 32)
    assert published.FIGURE4 == {2: (2, 10), 3: (2, 16)}
    assert published.FINC_K28 == {
        "conv": "finc",
        "levels": 3,
        "steps": 28,
        "width": 512,
        "conv_options": {"kernel_size": 3},
    }
    shared = {
        "steps": [4, [12, 12], [12, 12], 12],
        "widths": [24, 512, 512, 512],
        "factor": 4,
        "conv_options": {"kernel_size": [2, 3]},
        "preprocessing": "scale",
    }
    assert shared | {"dequantization": "uniform"} == published.MACOW_FG
    assert (
        shared
        | {
            "dequantization": "variational_macow",
            "dequantization_options": {
                "steps": [4, 4],
                "widths": [24, 256],
                "context_channels": 4,
            },
        }
        == published.MACOW_ORG
    )
