"""The Hugging Face cache and hub: a hub of the test's own, and none at all."""

import hashlib
import http.server
import json
import re
import socket
import threading
from dataclasses import replace

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from image_files import pixels, write_parquet

from invconv.__main__ import main
from invconv.data import fetch, load
from invconv.data.published_sets import PUBLISHED_SETS

REVISION = PUBLISHED_SETS["mnist"].hub.revision
SNAPSHOT = f"datasets--ylecun--mnist/snapshots/{REVISION}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and mnist of 12 + 3 images."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.delenv("INVCONV_DATA", raising=False)
    small = replace(PUBLISHED_SETS["mnist"], counts={"train": 12, "test": 3}, held_out=2)
    monkeypatch.setitem(PUBLISHED_SETS, "mnist", small)
    return folder


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_, **__):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def write(folder):
    images, held = pixels(12, (1, 28, 28)), pixels(3, (1, 28, 28), seed=1)
    write_parquet(folder / "mnist" / "train-00000-of-00001.parquet", images)
    write_parquet(folder / "mnist" / "test-00000-of-00001.parquet", held)
    return torch.from_numpy(images), torch.from_numpy(held)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server with the four answers that a download needs; yields the images it holds."""
    served = tmp_path / "served"
    images = write(served)
    (served / "README.md").write_text("not wanted")
    files = {str(p.relative_to(served)): p.read_bytes() for p in served.rglob("*") if p.is_file()}
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, body, **headers):
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self):
            path, _, name = self.path.partition("?")[0].partition(f"/{REVISION}")
            asked.append(f"{self.command} {self.path}")
            if path.endswith("ylecun/mnist/resolve"):
                body = files[name[1:]]
                tag = hashlib.sha1(body).hexdigest()
                self.answer(body, ETag=f'"{tag}"', X_Repo_Commit=REVISION)
            elif path.endswith("ylecun/mnist/tree"):
                entries = [
                    {"type": "file", "path": n, "size": len(b), "oid": hashlib.sha1(b).hexdigest()}
                    for n, b in files.items()
                ]
                self.answer(json.dumps(entries).encode(), Content_Type="application/json")
            else:
                info = {"id": "ylecun/mnist", "sha": REVISION, "siblings": []}
                self.answer(json.dumps(info).encode(), Content_Type="application/json")

        do_HEAD = do_GET

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        constants = huggingface_hub.constants
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, endpoint)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("no_proxy", raising=False)
        huggingface_hub.close_session()  # the next one reads NO_PROXY
        yield *images, asked
        huggingface_hub.close_session()
        server.shutdown()
        thread.join()


def test_fetched_below_a_root(hub, tmp_path, capsys):
    images, held, asked = hub
    root = tmp_path / "root"
    assert main(["fetch", "mnist", "--root", str(root)]) == 0
    assert capsys.readouterr().out.strip() == str(root / "mnist")
    got = [line for line in asked if line.startswith("GET") and "/resolve/" in line]
    assert len(got) == 2
    assert all(REVISION in line for line in got)
    asked.clear()
    assert torch.equal(load("mnist", "train", root).images, images[:10])
    assert torch.equal(load("mnist", "test", root).images, held)
    assert not asked


def test_fetched_into_the_cache_by_the_first_use(hub, cache):
    images, _, asked = hub
    data = load("mnist", "valid")
    assert torch.equal(data.images, images[10:])
    assert data.source == f"ylecun/mnist@{REVISION}"
    assert (cache / SNAPSHOT / "mnist" / "test-00000-of-00001.parquet").exists()
    assert not (cache / SNAPSHOT / "README.md").exists()
    asked.clear()
    assert len(load("mnist", "train", "/nowhere")) == 10
    assert not asked


def test_what_comes_is_counted(hub, tmp_path, monkeypatch, capsys):
    more = replace(PUBLISHED_SETS["mnist"], counts={"train": 12, "test": 4})
    monkeypatch.setitem(PUBLISHED_SETS, "mnist", more)
    with pytest.raises(ValueError, match="is not mnist: it has 3 test images instead of 4"):
        fetch("mnist", tmp_path)
    assert main(["fetch", "mnist", "--root", str(tmp_path)]) == 1
    assert "3 test images instead of 4" in capsys.readouterr().err


@pytest.mark.usefixtures("offline")
def test_the_cache_without_a_network(cache):
    """What `datasets` downloads is there too: it keeps hub files in the same place."""
    images, held = write(cache / SNAPSHOT)
    assert torch.equal(load("mnist", "train").images, images[:10])
    assert torch.equal(load("mnist", "test").images, held)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("incomplete", [False, True])
def test_no_network(cache, tmp_path, incomplete):
    if incomplete:
        write(cache / SNAPSHOT)
        (cache / SNAPSHOT / "mnist" / "test-00000-of-00001.parquet").unlink()
    sentence = (
        f"mnist is neither in {tmp_path / 'mnist'} nor in the Hugging Face cache, and ylecun/mnist"
        " cannot be fetched from the Hugging Face hub (Name or service not known): on a machine "
        "with network run `python -m invconv fetch mnist --root DIR`, copy DIR here and give "
        "dataset.root=DIR in a sweep, root=DIR in Python, or set INVCONV_DATA=DIR"
    )
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(sentence)}$"):
        load("mnist", "train", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"below a root .none is given, and INVCONV_DATA"):
        load("mnist", "train")


@pytest.mark.usefixtures("offline")
def test_fetching_without_a_network_says_what_to_do_next(capsys, tmp_path):
    assert main(["fetch", "mnist", "--root", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "on a machine with network run `python -m invconv fetch mnist --root DIR`" in said
    assert "dataset.root=DIR in a sweep" in said and said.count("\n") == 1


def test_offline_by_choice(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    with pytest.raises(FileNotFoundError, match=r"offline mode is enabled.*fetch mnist"):
        load("mnist", "train")
    huggingface_hub.close_session()


@pytest.mark.usefixtures("offline")
def test_what_cannot_be_fetched(capsys):
    with pytest.raises(ConnectionError, match="ylecun/mnist cannot be fetched"):
        fetch("mnist")
    with pytest.raises(ValueError, match="digits is not fetched: it is embedded"):
        fetch("digits")
    with pytest.raises(ValueError, match="folder is not fetched"):
        fetch("folder")
    with pytest.raises(FileNotFoundError, match="fetch imagenet64 --version 2021 --root DIR"):
        load("imagenet64", "test", version=2021)
    for version, advice in (
        ("2016", "which image-net.org no longer"),
        ("2021", "log in at image"),
    ):
        assert main(["fetch", "imagenet32", "--version", version]) == 1
        assert advice in capsys.readouterr().err
    assert main(["fetch", "imagenet32"]) == 1
    said = capsys.readouterr().err
    assert "give version=2016 or version=2021" in said and "to fetch it --version 2021" in said
