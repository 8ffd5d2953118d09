"""A flow on your own pictures: a folder of images, a short training, samples.

Run it as `python own_images.py FOLDER OUT`. Without a folder it writes one with photographs first.
"""

import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

import invconv
from invconv.data import load, save_images
from invconv.flows import MultiScaleFlow
from invconv.training import TrainingOptions, evaluate, train


def write_photographs(folder: Path) -> Path:
    """Fill a folder with crops of the photographs that scikit-learn and scikit-image bring."""
    for number, image in enumerate(load("photographs", "train")[::8]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return folder


def main(folder: Path, out: Path) -> None:
    """Train on the pictures in ``folder``, and write flow.pt and samples.png into ``out``."""
    # A tenth of the pictures validates, another tests. Each is cropped to the central square and
    # averaged down to 16×16 pixels.
    training, validation, test = (
        load("folder", split, path=folder, size=16) for split in ("train", "valid", "test")
    )
    torch.manual_seed(0)
    flow = MultiScaleFlow("finc", training.shape, levels=2, steps=2, width=32)
    # Sixty steps show that everything works. For good samples take thousands, and a wider flow.
    options = TrainingOptions(steps=60, batch_size=32, evaluate_every=30)
    train(flow, training, validation, options, folder=out)

    print(f"{len(test)} test images, {evaluate(flow, test):.2f} bits per dimension")
    flow.save(out / "flow.pt")
    again = invconv.flows.load(out / "flow.pt").eval()
    print(save_images(again.sample(16, only_finite=True), out / "samples.png"))


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as scratch:
        folder = paths[0] if paths else write_photographs(Path(scratch))
        main(folder, paths[1] if len(paths) > 1 else Path("own_images"))
