"""The reference vectors are those of the layers as they are, and there are some of every layer."""

import numpy as np
import pytest
import torch
from vectors import CASES, FOLDER, arrays, mask_of

from invconv import available, build
from invconv.conv import layer_class


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.fixture
def file(name):
    return np.load(FOLDER / f"{name}.npz")


def loaded(name, file):
    """The layer with the weights of the file."""
    _, shape, options = CASES[name]
    layer = build(str(file["layer"]), shape, **options).double().eval()
    names = [key.removeprefix("weights/") for key in file.files if key.startswith("weights/")]
    layer.load_state_dict({key: torch.from_numpy(file[f"weights/{key}"]) for key in names})
    return layer


def test_every_layer_has_some_and_no_file_is_left_over():
    own = {name for name in available() if layer_class(name).__module__.startswith("invconv.l")}
    assert {layer for layer, _, _ in CASES.values()} == own
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(CASES)


def test_the_layer_gives_what_the_file_says(name, file):
    for key, value in arrays(name, loaded(name, file)).items():
        np.testing.assert_allclose(value.detach().numpy(), file[key], rtol=1e-9, atol=1e-12)


def test_a_file_is_consistent_in_itself(file):
    """log_det is that of the Jacobian; the mask holds where nothing may be."""
    found = np.linalg.slogdet(file["jacobian"]).logabsdet
    np.testing.assert_allclose(file["log_det"], found, rtol=1e-9, atol=1e-10)
    assert not file["jacobian"][:, ~file["mask"]].any()


def test_the_mask_is_the_layers(name, file):
    assert (mask_of(name).numpy() == file["mask"]).all()
