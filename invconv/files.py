"""Files that are never half written."""

import os
from pathlib import Path


def write_atomically(content: bytes, path: Path) -> None:
    """Writes ``path``, which holds either what it held before or all of ``content``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
