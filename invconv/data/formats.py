"""Parquet, .npz, idx and image files: how many images they hold, and where each one lies."""

import importlib
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from invconv.data import idx
from invconv.files import brief

CHUNK = 256
IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp")
IDX = ".idx3-ubyte"
"""The format of MNIST's files, whatever their names end with; they may be compressed by gzip."""
FORMATS = ((".parquet",), (".npz",), (IDX,), IMAGES)


@dataclass(frozen=True)
class Block:
    """Consecutive images, none decoded.

    Attributes:
        items: paths, pyarrow's binary values, or (H, W, C) pixels.
        where: a row's place in words.
    """

    items: Sequence[Any] | np.ndarray
    where: Callable[[int], str]


def extra(module: str) -> Any:
    """A module that comes with the extra "data"; ImportError says so where it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"parquet files and the Hugging Face hub need {module.split('.')[0]}: "
            'pip install "invconv[data]"'
        ) from error


def file_format(name: str) -> str:
    """The format of a file by its name: its suffix in lower case, or `IDX`.

    >>> from invconv.data.formats import file_format
    >>> file_format("1.PNG"), file_format("t10k-images-idx3-ubyte.gz")
    ('.png', '.idx3-ubyte')
    """
    idx = re.search(r"[-.]idx3-ubyte(\.gz)?$", name.lower())
    return IDX if idx else os.path.splitext(name)[1].lower()


def count_images(files: Sequence[str]) -> int:
    """How many images the files hold; none is decoded."""
    kind = file_format(files[0]) if files else ""
    if kind == ".parquet":
        return sum(int(_parquet(file).metadata.num_rows) for file in files)
    if kind == ".npz":
        return sum(_npz_shape(file)[0] for file in files)
    if kind == IDX:
        return sum(idx.shape(file)[0] for file in files)
    return len(files)


def blocks(files: Sequence[str]) -> Iterator[Block]:
    """All images of files of one format, in their order."""
    readers = {".parquet": _parquet_blocks, ".npz": _npz_blocks, IDX: _idx_blocks}
    read = readers.get(file_format(files[0])) if files else None
    if read is not None:
        for file in files:
            yield from read(file)
    else:
        for first in range(0, len(files), CHUNK):
            chunk = files[first : first + CHUNK]
            yield Block(chunk, chunk.__getitem__)


def _idx_blocks(file: str) -> Iterator[Block]:
    first = 0
    for images in idx.chunks(file, CHUNK):
        yield Block(images[..., None], _place(file, first))
        first += len(images)


def _place(file: str, first: int) -> Callable[[int], str]:
    return lambda row: f"{file}, row {first + row},"


def _parquet(file: str) -> Any:
    parquet = extra("pyarrow.parquet")
    try:
        return parquet.ParquetFile(file)
    except Exception as error:
        raise ValueError(f"{file} is no parquet file that can be read: {brief(error)}") from error


def _parquet_blocks(file: str) -> Iterator[Block]:
    opened = _parquet(file)
    column = _image_column(opened.schema_arrow, file)
    groups = ([group] for group in range(opened.num_row_groups))  # one at a time in memory
    batches = chain.from_iterable(
        opened.iter_batches(CHUNK, columns=[column], row_groups=group) for group in groups
    )
    first = 0
    while True:
        try:
            batch = next(batches, None)
        except Exception as error:
            raise ValueError(
                f"{file} cannot be read beyond row {first}: {brief(error)}"
            ) from error
        if batch is None:
            if first != opened.metadata.num_rows:
                raise ValueError(
                    f"{file} is damaged: it says {opened.metadata.num_rows} rows and has {first}"
                )
            return
        values = getattr(batch.column(0), "storage", batch.column(0))
        items = values.field("bytes") if hasattr(values, "field") else _nested(values, file)
        yield Block(items, _place(file, first))
        first += len(values)


def _image_column(schema: Any, file: str) -> str:
    """The one column that holds images as `datasets` stores them: Image, or Array3D of uint8."""
    types = extra("pyarrow").types
    names = []
    for field in schema:
        kind, depth = getattr(field.type, "storage_type", field.type), 0
        while types.is_list(kind):
            kind, depth = kind.value_type, depth + 1
        encoded = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        if (depth == 0 and encoded) or (depth == 3 and types.is_uint8(kind)):
            names.append(field.name)
    if len(names) != 1:
        raise ValueError(
            f"{file} must have one column of images (a struct with bytes, or uint8 nested three "
            f"deep), not {', '.join(names) or 'none'}; its columns are {', '.join(schema.names)}"
        )
    return names[0]


def _nested(values: Any, file: str) -> np.ndarray:
    """(N, H, W, C) from lists of lists of lists."""
    compute = extra("pyarrow.compute")
    sizes = []
    for _ in range(3):
        lengths = compute.unique(compute.list_value_length(values)).to_pylist()
        if len(lengths) != 1 or not lengths[0]:
            raise ValueError(f"{file} has images of different sizes: one side has {lengths}")
        sizes.append(lengths[0])
        values = values.flatten()
    if sizes[2] not in (1, 3):
        raise ValueError(f"{file} must hold (height, width, 1 or 3 channels), not {sizes}")
    pixels: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(-1, *sizes)
    return pixels


def _npz_blocks(file: str) -> Iterator[Block]:
    """Rows of C·H·W values, one channel after the other, as in image-net.org's files."""
    count, width = _npz_shape(file)
    channels = 1 if math.isqrt(width) ** 2 == width else 3
    side = math.isqrt(width // channels)
    if channels * side**2 != width:
        raise ValueError(f"{file}: {width} values are no square image, gray or RGB")
    with zipfile.ZipFile(file) as archive, archive.open("data.npy") as stream:
        _header(stream)
        for first in range(0, count, CHUNK):
            size = min(CHUNK, count - first)
            try:
                data = np.frombuffer(stream.read(size * width), np.uint8)
                images = data.reshape(size, channels, side, side)
            except Exception as error:
                raise ValueError(
                    f"{file} cannot be read beyond row {first}: {brief(error)}"
                ) from error
            yield Block(images.transpose(0, 2, 3, 1), _place(file, first))


def _npz_shape(file: str) -> tuple[int, int]:
    try:
        with zipfile.ZipFile(file) as archive, archive.open("data.npy") as stream:
            shape, fortran, dtype = _header(stream)
            size = archive.getinfo("data.npy").file_size - stream.tell()
    except Exception as error:
        raise ValueError(f"{file} is no .npz file with an array 'data': {brief(error)}") from error
    if dtype != np.uint8 or len(shape) != 2 or fortran or min(shape) < 1:
        raise ValueError(f"{file}: 'data' must be uint8, (N, C·H·W), not {dtype}, {shape}")
    if math.prod(shape) != size:
        raise ValueError(f"{file} is damaged: 'data' says {shape} and has {size} bytes")
    return shape[0], shape[1]


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)
