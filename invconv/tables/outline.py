"""What tables say of themselves, read from the text of their modules: importing takes long."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outline:
    """The name, title and presets of a table: preset → minutes, 0 where it does not say."""

    name: str
    title: str
    presets: Mapping[str, float]
    order: int


BEGIN = "\nTABLE = Table("


def outlines() -> list[Outline]:
    """Return those of all tables, in the order of `invconv.tables.table.tables`."""
    texts = {
        path.stem: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.py")
    }
    found = [
        _outline(name, ast.parse(text[text.index(BEGIN) :]).body[0])  # the rest takes longer
        for name, text in texts.items()
        if BEGIN in text
    ]
    return sorted(found, key=lambda table: (table.order, table.name))


def _outline(name: str, statement: ast.stmt) -> Outline:
    given = _words(getattr(statement, "value", None))
    minutes = {}
    for preset, made in zip(*_items(given.get("presets")), strict=True):
        minutes[str(_value(preset))] = float(_value(_words(made).get("minutes")) or 0)
    order = _value(given.get("order"))
    return Outline(
        name, str(_value(given["title"])), minutes, 100 if order is None else int(order)
    )


def _words(call: ast.expr | None) -> dict[str | None, ast.expr]:
    return {word.arg: word.value for word in call.keywords} if isinstance(call, ast.Call) else {}


def _items(made: ast.expr | None) -> tuple[list[ast.expr | None], list[ast.expr]]:
    return (made.keys, made.values) if isinstance(made, ast.Dict) else ([], [])


def _value(node: ast.expr | None) -> str | float | None:
    return None if node is None else ast.literal_eval(node)
