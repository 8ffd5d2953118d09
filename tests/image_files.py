"""Small files as the published data sets have them, written by the tests."""

import io

import numpy as np
from datasets import Array3D, ClassLabel, Dataset, Features, Image, Value
from PIL import Image as Pillow


def pixels(count, shape, seed=0):
    """(N, C, H, W)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def picture(image):
    return Pillow.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def encoded(image, kind="png"):
    buffer = io.BytesIO()
    picture(image).save(buffer, kind)
    return buffer.getvalue()


def write_parquet(path, images, column="image"):
    """Images, or encoded bytes, in the hub's schema: an image and a label."""
    rows = [{"bytes": i if i is None or isinstance(i, bytes) else encoded(i)} for i in images]
    rows = [{**row, "path": f"{i}.png"} for i, row in enumerate(rows)]
    features = Features({column: Image(), "label": ClassLabel(names=["a", "b"])})
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {column: rows, "label": [0] * len(rows)}
    Dataset.from_dict(columns, features=features).to_parquet(path)


def write_arrays(path, images):
    """As `sradc/imagenet_resized_64x64` has them."""
    arrays = images.transpose(0, 2, 3, 1)
    features = Features({"image": Array3D(arrays.shape[1:], "uint8"), "label": Value("int32")})
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"image": arrays, "label": [0] * len(arrays)}
    Dataset.from_dict(columns, features=features).to_parquet(path)


def write_npz(path, images):
    """As image-net.org has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.ones(len(images), int)
    np.savez(path, data=images.reshape(len(images), -1), labels=labels, mean=images.mean(0))


def write_folder(path, images, kind="png"):
    path.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        picture(image).save(path / f"{i:05}.{kind}")
