"""A hook of MkDocs: the repository's Markdown as it lies there, so that each link works twice.

Every page keeps its path from the root, and a file that a page links to is copied beside it.
So the same relative link works on a code host and on the site.
"""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
MOUNTED = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/*.md", "slurm/README.md")
MOUNTED += ("tests/data/README.md",)
LINK = re.compile(r"\]\(\s*<?([^)>\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Return the files of docs/ below ``docs/``, the mounted pages, and what these link to."""
    ours = [file for file in files if file.src_dir == config.docs_dir]
    mounted = {
        f"docs/{file.src_uri}": Path(config.docs_dir, file.src_uri)
        for file in ours
        if file.inclusion.is_included()
    }
    for pattern in MOUNTED:
        mounted |= {path.relative_to(ROOT).as_posix(): path for path in ROOT.glob(pattern)}
    for path in [path for path in mounted.values() if path.suffix == ".md"]:
        for linked in _linked(path):
            mounted.setdefault(linked.relative_to(ROOT).as_posix(), linked)
    of_the_theme = [file for file in files if file not in ours]
    made = [
        File.generated(config, name, abs_src_path=str(path))
        for name, path in sorted(mounted.items())
    ]
    return Files([*of_the_theme, *made])


def _linked(page: Path) -> set[Path]:
    """The files of the repository that a page links to."""
    found = (urlsplit(target) for target in LINK.findall(page.read_text(encoding="utf-8")))
    paths = (
        (page.parent / unquote(link.path)).resolve()
        for link in found
        if link.path and not link.scheme and not link.netloc
    )
    return {path for path in paths if path.is_file() and path.is_relative_to(ROOT)}
