"""Where a data set's files are: a folder, the Hugging Face cache, or the hub."""

import os
from pathlib import Path

from invconv.data.formats import count_images, extra, split_files
from invconv.data.presets import PRESETS, Hub, Preset
from invconv.files import brief

ROOT = "INVCONV_DATA"
"""The environment variable that names the root where none is given."""


def locate(
    name: str, root: str | Path | None = None, path: str | Path | None = None
) -> tuple[dict[str, list[str]], str]:
    """The files of each split of a published data set, and where they are.

    Looked for in ``path`` alone if it is given; otherwise in ``root/name``, then in the Hugging
    Face cache, which `datasets` fills too, then on the hub. ``root`` is by default what the
    environment variable INVCONV_DATA says.

    Args:
        name: a key of `PRESETS`.
        root, path: folders, or None.

    Raises:
        FileNotFoundError: if there are none, with the command that fetches them.
        ValueError: if a split has not as many images as the data set.
    """
    preset = PRESETS[name]
    root = root or os.environ.get(ROOT)
    if path is not None or (root is not None and (Path(root) / name).is_dir()):
        folder = Path(path) if path is not None else Path(root or "") / name
        if not folder.is_dir():
            raise FileNotFoundError(f"{preset.title} was to be read in {folder}: no such folder")
        return _checked(preset, folder), str(folder)
    if preset.hub is None:
        raise FileNotFoundError(_not_offered(name, preset, root))
    source = f"{preset.hub.repo}@{preset.hub.revision}"
    cached = _cached(preset.hub)
    if cached.is_dir() and not _missing(preset, split_files(cached)):
        return split_files(cached), source
    try:
        folder = _download(preset.hub, None)
    except ConnectionError as error:
        raise FileNotFoundError(
            f"{preset.title} is neither {_place(name, root)} nor in the Hugging Face cache, "
            f"and {error}: on a machine with network run `{command(name, 'DIR')}`, copy DIR here "
            "and give root=DIR"
        ) from error
    return _checked(preset, folder / preset.hub.folder), source


def download(name: str, root: str | Path | None = None) -> Path:
    """`invconv.data.fetch` for a key of `PRESETS`."""
    preset, root = PRESETS[name], root or os.environ.get(ROOT)
    if preset.hub is None:
        raise FileNotFoundError(_not_offered(name, preset, root))
    folder = _download(preset.hub, None if root is None else Path(root) / name)
    _checked(preset, folder / preset.hub.folder)
    return folder


def command(name: str, root: str) -> str:
    """What to type to fetch a data set."""
    base, _, version = name.partition("_")
    return f"python -m invconv fetch {base}{f' --version {version}' * bool(version)} --root {root}"


def _place(name: str, root: str | Path | None) -> str:
    if root:
        return f"in {Path(root) / name}"
    return f"below a root (none is given, and {ROOT} is not set)"


def _not_offered(name: str, preset: Preset, root: str | Path | None) -> str:
    return (
        f"{preset.title} is not {_place(name, root)}, and no repository of the Hugging Face "
        f"hub is known to hold these images: {preset.elsewhere} into ROOT/{name}, and give "
        "root=ROOT, or give path= the folder itself"
    )


def _missing(preset: Preset, splits: dict[str, list[str]]) -> str:
    """What is wrong with the number of images, in words."""
    for split, expected in preset.counts.items():
        found = count_images(splits.get(split, []))
        if found != expected:
            return f"{found:,} {split} images instead of {expected:,}"
    return ""


def _checked(preset: Preset, folder: Path) -> dict[str, list[str]]:
    splits = split_files(folder)
    wrong = _missing(preset, splits)
    if wrong:
        raise ValueError(
            f"{folder} is not {preset.title}: it has {wrong}, so that it is incomplete or "
            "something else (name=folder path=... reads images of any number)"
        )
    return splits


def _cached(hub: Hub) -> Path:
    cache = Path(extra("huggingface_hub.constants").HF_HUB_CACHE)
    return cache / f"datasets--{hub.repo.replace('/', '--')}/snapshots/{hub.revision}" / hub.folder


def _download(hub: Hub, folder: Path | None) -> Path:
    client = extra("huggingface_hub")
    place = {"repo_id": hub.repo, "repo_type": "dataset", "revision": hub.revision}
    wanted = [f"{hub.folder}/*.parquet"]
    try:
        client.HfApi().repo_info(**place, timeout=10)  # fails at once, where the next line retries
        return Path(client.snapshot_download(**place, allow_patterns=wanted, local_dir=folder))
    except Exception as error:
        raise ConnectionError(
            f"{hub.repo} cannot be fetched from the Hugging Face hub ({brief(error)})"
        ) from error
