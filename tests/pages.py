"""The Markdown of this repository: its pages, their links, anchors and code blocks."""

import re
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from invconv.rows.provenance import ROOT

PATTERNS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md", "results/*.md")
PATTERNS += ("slurm/README.md", "tests/data/README.md")
PAGES = sorted({page for pattern in PATTERNS for page in ROOT.glob(pattern)})
FENCE = re.compile(r"^( *)```(\w*)(.*)\n((?:.*\n)*?)\1```$", re.MULTILINE)
LINK = re.compile(r"\]\(\s*<?([^)>\s]+)")
IMAGE_TAG = re.compile(r"<(?:img|a)\b[^>]*?(?:src|href)=\"([^\"]+)\"")


class Code(NamedTuple):
    """A fenced block: its language, what else its first line says, its line and its text."""

    language: str
    title: str
    line: int
    text: str


def code_blocks(page: Path) -> list[Code]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Code(
            match[2],
            "".join(re.findall(r'title="(.*?)"', match[3])),
            text[: match.start()].count("\n") + 2,
            dedent(match[4]),
        )
        for match in FENCE.finditer(text)
    ]


def titled(page: Path) -> dict[str, str]:
    """The text of each block that names the file it is to be."""
    return {code.title: code.text for code in code_blocks(page) if code.title}


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """The targets of all links and pictures that do not leave this repository."""
    text = re.sub(r"`[^`\n]*`", "", _prose(page))
    targets = LINK.findall(text) + IMAGE_TAG.findall(text)
    return [target for target in targets if not re.match(r"\w+:", target)]


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as code hosts have it."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        found[name] = found.get(name, 0) + 1
    return {f"{name}-{i}" if i else name for name, count in found.items() for i in range(count)}
