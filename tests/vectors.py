"""Reference vectors of every layer, for code in other languages: `python tests/vectors.py`.

Each file of `tests/data/vectors` is one layer, as docs/vectors.md says; its numbers are float64.
"""

import json
from pathlib import Path

import numpy as np
import torch

from invconv import build
from invconv.testing.values import dense_jacobian

FOLDER = Path(__file__).parent / "data" / "vectors"
CASES = {
    "butterfly": ("butterfly", (3, 4, 2), {"bidirectional": True}),
    "cayley": ("cayley", (3, 4, 3), {}),
    "cinc": ("cinc", (3, 4, 5), {}),
    "cinc_k2_unit": ("cinc", (2, 4, 3), {"kernel_size": 2, "diagonal": "unit", "bias": True}),
    "conv_exp": ("conv_exp", (3, 4, 3), {}),
    "emerging": ("emerging", (3, 4, 5), {}),
    "emerging_raster": ("emerging", (2, 5, 4), {"mask": "raster", "dilation": 2}),
    "finc": ("finc", (4, 4, 5), {}),
    "finc_c8_k2": ("finc", (8, 3, 2), {"kernel_size": 2}),
    "glow": ("glow", (4, 2, 3), {}),
    "glow_plain": ("glow", (3, 3, 2), {"parametrization": "plain"}),
    "inverse_flow": ("inverse_flow", (3, 4, 3), {}),
    "macow": ("macow", (2, 4, 5), {"hidden_channels": 5}),
    "me_woodbury": ("me_woodbury", (3, 4, 3), {"channel_rank": 2, "height_rank": 1}),
    "mintnet": ("mintnet", (2, 3, 4), {"latent_multiplier": 2}),
    "periodic": ("periodic", (3, 4, 3), {}),
    "skew_exp": ("skew_exp", (2, 4, 3), {"coefficient": 2.0}),
    "snf": ("snf", (3, 4, 3), {}),
    "woodbury": ("woodbury", (3, 4, 3), {"channel_rank": 2, "spatial_rank": 3}),
}
"""Name of the file → the layer's registered name, (C, H, W) and options."""
SEEDS = 4
"""Of the weights whose dense Jacobians make up the mask."""


def layer_of(name, seed=0):
    """The layer in float64 and eval mode, its weights moved away from where they start."""
    layer, shape, options = CASES[name]
    torch.manual_seed(seed)
    made = build(layer, shape, **options).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def arrays(name, layer):
    """What a file says of a layer besides its weights."""
    shape = CASES[name][1]
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        z, log_det = layer(x)
    jacobian = torch.stack([dense_jacobian(layer, image) for image in x])
    return {"x": x, "z": z, "log_det": log_det, "jacobian": jacobian}


def mask_of(name):
    """Which entries of the Jacobian may be other than 0, (D, D)."""
    found = [arrays(name, layer_of(name, seed))["jacobian"] for seed in range(SEEDS)]
    return (torch.cat(found) != 0).any(0)


def write(folder=FOLDER):
    """Write all files."""
    folder.mkdir(exist_ok=True)
    for name, (layer, _, options) in CASES.items():
        made = layer_of(name)
        values = {"mask": mask_of(name), **arrays(name, made)}
        values |= {f"weights/{key}": value for key, value in made.state_dict().items()}
        about = {"layer": np.array(layer), "options": np.array(json.dumps(options))}
        packed = {key: value.detach().numpy() for key, value in values.items()}
        np.savez_compressed(folder / f"{name}.npz", **about, **packed)


if __name__ == "__main__":
    write()
