"""Where a data set's files are: a folder, a Debian package, the Hugging Face cache, or the hub."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from invconv.data.folders import split_files
from invconv.data.formats import IDX, count_images, extra, file_format
from invconv.data.idx import digest
from invconv.data.published_sets import PUBLISHED_SETS, Debian, Hub, PublishedSet
from invconv.files import brief, cache_folder, user_path

ROOT = "INVCONV_DATA"
"""The environment variable that names the root where none is given."""
INSTALLED = Path("/")
"""Below which Debian packages are installed."""


def locate(
    name: str, root: str | Path | None = None, path: str | Path | None = None
) -> tuple[dict[str, list[str]], str]:
    """The files of each split of a published data set, and where they are.

    Looked for in ``path`` alone if it is given; otherwise in ``root/name``, then where its Debian
    package or `fetch` put it, then in the Hugging Face cache, which `datasets` fills too, then on
    the hub. ``root`` is by default what the environment variable INVCONV_DATA says.

    Args:
        name: a key of `PUBLISHED_SETS`.
        root, path: folders, or None.

    Raises:
        FileNotFoundError: if there are none, with the command that fetches them.
        ValueError: if a split has not as many images as the data set, or other ones.
    """
    known = PUBLISHED_SETS[name]
    root = _root(root)
    if path is not None or (root is not None and (root / name).is_dir()):
        folder = user_path(path) if path is not None else Path(root or "") / name
        if not folder.is_dir():
            raise FileNotFoundError(f"{known.title} was to be read in {folder}: no such folder")
        return _checked(known, folder), str(folder)
    if known.debian is not None:
        for folder in (INSTALLED / known.debian.folder, unpacked(name)):
            if folder.is_dir():
                return _checked(known, folder), str(folder)
    if known.hub is None:
        raise FileNotFoundError(_not_offered(name, known, root))
    source = f"{known.hub.repo}@{known.hub.revision}"
    cached = _cached(known.hub)
    if cached.is_dir() and not _missing(known, split_files(cached)):
        return split_files(cached), source
    try:
        folder = _download(known.hub, None)
    except ConnectionError as error:
        packaged = f" nor in Debian's package {known.debian.package}" if known.debian else ""
        raise FileNotFoundError(
            f"{known.title} is neither {_place(name, root)}{packaged} nor in the Hugging Face "
            f"cache, and {error}: {_elsewhere(name)}"
        ) from error
    return _checked(known, folder / known.hub.folder), source


def download(name: str, root: str | Path | None = None) -> Path:
    """`invconv.data.fetch` for a key of `PUBLISHED_SETS`."""
    known, root = PUBLISHED_SETS[name], _root(root)
    refused = ""
    if known.debian is not None:
        folder = unpacked(name) if root is None else root / name
        try:
            _unpack(known.debian, folder)
            _checked(known, folder)
            return folder
        except ConnectionError as error:
            refused = f"{error}, and "
    if known.hub is None:
        raise FileNotFoundError(_not_offered(name, known, root))
    try:
        folder = _download(known.hub, None if root is None else root / name)
    except ConnectionError as error:
        raise ConnectionError(f"{refused}{error}: {_elsewhere(name)}") from error
    _checked(known, folder / known.hub.folder)
    return folder


def _root(root: str | Path | None) -> Path | None:
    given = root or os.environ.get(ROOT)
    return user_path(given) if given else None


def unpacked(name: str) -> Path:
    """The folder into which `download` unpacks a Debian package where no root is given."""
    return cache_folder() / "data" / name


def _unpack(debian: Debian, folder: Path) -> None:
    """Download a Debian package and put its files into ``folder``; needs no root.

    Raises:
        ConnectionError: if it cannot be downloaded or unpacked.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as partial:
        try:
            for command in (
                ["apt-get", "download", debian.package],
                ["sh", "-c", "dpkg-deb --extract *.deb ."],
            ):
                subprocess.run(
                    command,
                    cwd=partial,
                    check=True,
                    capture_output=True,
                    encoding="utf-8",
                    errors="replace",
                )
        except (OSError, subprocess.CalledProcessError) as error:
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
            raise ConnectionError(
                f"Debian's package {debian.package} cannot be fetched by apt-get ({said})"
            ) from error
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(Path(partial, debian.folder), folder)


def command(name: str, root: str) -> str:
    """What to type to fetch a data set."""
    base, _, version = name.rpartition("_")
    if not version.isdecimal():
        base, version = name, ""
    return f"python -m invconv fetch {base}{f' --version {version}' * bool(version)} --root {root}"


def _elsewhere(name: str) -> str:
    """What to do on a machine without a network."""
    return (
        f"on a machine with network run `{command(name, 'DIR')}`, copy DIR here and give "
        "dataset.root=DIR in a sweep, root=DIR in Python, or set INVCONV_DATA=DIR"
    )


def _place(name: str, root: Path | None) -> str:
    if root:
        return f"in {root / name}"
    return f"below a root (none is given, and {ROOT} is not set)"


def _not_offered(name: str, known: PublishedSet, root: Path | None) -> str:
    return (
        f"{known.title} is not {_place(name, root)}, and no repository of the Hugging Face "
        f"hub is known to hold these images: {known.elsewhere} into ROOT/{name}, and give "
        "dataset.root=ROOT in a sweep, root=ROOT in Python, or give the folder itself as "
        "dataset.path=, path= in Python"
    )


def _missing(known: PublishedSet, splits: dict[str, list[str]]) -> str:
    """What is wrong with the number of images, in words."""
    for split, expected in known.counts.items():
        found = count_images(splits.get(split, []))
        if found != expected:
            return f"{found:,} {split} images instead of {expected:,}"
    return ""


def _checked(known: PublishedSet, folder: Path) -> dict[str, list[str]]:
    splits = split_files(folder)
    wrong = _missing(known, splits)
    if wrong:
        raise ValueError(
            f"{folder} is not {known.title}: it has {wrong}, so that it is incomplete or "
            "something else (name=folder path=... reads images of any number)"
        )
    for split, expected in known.digests.items():
        files = splits[split]
        if file_format(files[0]) == IDX and (found := digest(files)) != expected:
            raise ValueError(
                f"{', '.join(files)} is not the {split} split of {known.title}: the SHA-256 of "
                f"its uncompressed bytes is {found[:8]}…, not {expected[:8]}…; delete it and "
                "fetch it again"
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
