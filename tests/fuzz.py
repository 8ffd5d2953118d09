"""Damage for files, and the check that nothing else was touched."""

from contextlib import contextmanager

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

JUNK = [
    None,
    True,
    -1,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "x\ny",
    "../../evil",
    [],
    [[1]],
    {},
    {"step": "3"},
    {"a": {"b": [None]}},
    torch.zeros(3),
    {"w": torch.full((2,), torch.nan)},
]
TEXTS = [
    "",
    "nan",
    "1e999",
    "9" * 400,
    "-1",
    "x",
    "../../evil",
    "<script>alert(1)</script>",
    "a|b",
    "two\nlines",
    "\x00",
    '"',
    "'",
    "=cmd()",
    "[" * 5000,
    "${oc.env:HOME}",
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def quiet(test):
    """Function-scoped fixtures are the same for all examples, and meant so."""
    return settings(suppress_health_check=list(HealthCheck))(test)


@st.composite
def damaged(draw, content):
    """``content`` (bytes) cut, with bits flipped, zeros, a part twice, or something in between."""
    kind = draw(st.sampled_from(["cut", "flip", "zero", "twice", "insert"]))
    place = draw(st.integers(0, len(content) - 1))
    if kind == "cut":
        return content[:place]
    if kind == "insert":
        return content[:place] + draw(st.binary(min_size=1, max_size=20)) + content[place:]
    if kind == "flip":
        changed = bytearray(content)
        for _ in range(draw(st.integers(1, 4))):
            changed[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    size = draw(st.integers(1, 300))
    part = content[place : place + size]
    if kind == "zero":
        return content[:place] + bytes(len(part)) + content[place + size :]
    return content[:place] + part + content[place:]


def contents(folder):
    """Every file below ``folder``: its bytes, or where it points to."""
    return {
        path: path.readlink() if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@contextmanager
def untouched(folder):
    """Fails if a file below ``folder`` was made, changed or removed inside."""
    before = contents(folder)
    yield
    assert contents(folder) == before


def one_sentence(error):
    """Whether the message is one line that says something."""
    text = str(error)
    return bool(text) and "\n" not in text


class Evil:
    """A pickle of this writes a file when it is loaded carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))
