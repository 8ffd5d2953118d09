"""An assessment as text, as a line of LaTeX, and as JSON."""

import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from invconv.assessing.timing import GLOW, LAYER
from invconv.conv import Shape
from invconv.report import Grid, Line
from invconv.report import entries as en
from invconv.rows import Values
from invconv.rows.status import Status

if TYPE_CHECKING:
    from invconv.assessing.assessment import Assessment

WIDTH = 98
COUNTED = {
    "stored": "stored",
    "free": "free",
    "dependent steps": "dependent_steps",
    "inverse ops": "inverse_operations",
    "log_det ops": "log_det_operations",
}
"""Columns of table 1 → those of its rows."""


def text(found: "Assessment") -> str:
    """Everything, in at most 100 columns but for the line of LaTeX."""
    return "\n\n".join("\n".join(part) for part in _parts(found))


def _parts(found: "Assessment") -> Iterator[Iterable[str]]:
    known = found.provenance
    threads = _several(known["threads"], "thread")
    yield [f"{found.target}, {known['device']}, torch {known['torch']}, {threads}"]
    yield _conformance(found)
    channels, height, width = found.counted_shape
    yield [
        f"Counted as in table 1, {channels} channels of {height}×{width} pixels, operations in "
        "multiply-adds:",
        "",
        str(Grid([_counted(found)])),
        *([""] if found.uncounted else []),
        *_wrapped(f"{name}: {reason}" for name, reason in found.uncounted.items()),
    ]
    yield _times(found)
    if found.failed:
        yield _wrapped(["No line of LaTeX: a layer that breaks the contract is in no table."], "")
    else:
        yield ["LaTeX:", "", latex(found)]
    yield _wrapped([_verdict(found)], "")


def _conformance(found: "Assessment") -> Iterator[str]:
    tried = [one for one in found.checks if one.status != "skipped"]
    shapes = " and ".join(map(_size, found.shapes))
    yield f"{len(tried) - len(found.failed)} of {len(tried)} checks passed, {shapes}:"
    for one in found.checks:
        if one.status != "passed":
            yield from _wrapped([f"{one.name}: {one.reason}"], f"  {one.status:8}")
    passed = ", ".join(one.name for one in found.checks if one.status == "passed")
    yield from _wrapped([passed], "  passed  ") if passed else ()


def _counted(found: "Assessment") -> Line:
    values = found.counted
    line = {title: _number(values, name) for title, name in COUNTED.items()}
    error = values["round_trip_error"]
    says = {
        "inverse": values.get("exact", en.ABSENT),
        "round trip": f"{error:.1e}" if isinstance(error, float) else en.ABSENT,
    }
    return {**line, **(dict.fromkeys(says, en.ABSENT) if found.failed else says)}


def _number(values: Values, name: str) -> str:
    value = values[name]
    return en.whole(value) if isinstance(value, int | float) else en.ABSENT


def _times(found: "Assessment") -> Iterator[str]:
    if not _is_timed(found):
        yield from _wrapped([f"No times: {found.untimed}."], "")
        return
    timing, block = found.timing, found.block
    assert block is not None
    yield (
        f"{_several(timing.batch, 'image')} of {_size(timing.shape)}, "
        f"{_several(timing.levels, 'level')} of {timing.steps_per_level} steps, couplings "
        f"{timing.width} wide, {_several(block.values['rounds'], 'round')} in "
        f"{_several(block.values['processes'], 'process', 'es')}:"
    )
    yield ""
    yield str(Grid([_timed(found, GLOW, "Glow"), _timed(found, LAYER, _title(found))]))
    if "noisy" in block.values:
        yield ""
        yield "Other processes computed meanwhile: these times are noisy."


def _is_timed(found: "Assessment") -> bool:
    return found.block is not None and not found.untimed


def _timed(found: "Assessment", part: str, title: str) -> Line:
    assert found.block is not None
    values = found.block.parts[part].values
    line: dict[str, object] = {"flow": title}
    for name in ("ft", "st"):
        times = [values[f"{name}{end}_s"] for end in ("", "_q25", "_q75")]
        line[f"{name.upper()} ms"] = en.with_quartiles(*(1000 * float(t or 0) for t in times))
    for name in ("ft", "st"):
        ends = [values.get(f"{name}_vs_{GLOW}{end}") for end in ("", "_low", "_high")]
        known = [float(x) for x in ends if isinstance(x, int | float)]
        own = en.with_interval(*known) if len(known) == 3 else en.ABSENT
        line[f"{name.upper()} ÷ Glow"] = "1" if part == GLOW else own
    return line


def latex(found: "Assessment") -> str:
    """One line of a table in LaTeX, its columns in a comment above."""
    line: dict[str, object] = {"method": _title(found), **_counted(found)}
    names = ("FT ms", "ST ms", "FT ÷ Glow", "ST ÷ Glow")
    times = _timed(found, LAYER, "") if _is_timed(found) else {}
    line |= {name: times.get(name, en.ABSENT) for name in names}
    body = Grid([line]).latex().partition("\\midrule\n")[2].partition("\n\\bottomrule")[0]
    return f"% {' & '.join(line)}\n{body}"


def _verdict(found: "Assessment") -> str:
    if found.failed:
        return f"{found.target.name} breaks the contract: {', '.join(found.failed)}."
    skipped = sum(one.status == "skipped" for one in found.checks)
    omitted = f"; {_several(skipped, 'check')} skipped" if skipped else ""
    return f"{found.target.name} keeps the contract{omitted}."


def _title(found: "Assessment") -> str:
    return found.target.layer.__name__


def _several(count: object, what: str, ending: str = "s") -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}{ending}"


def _size(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _wrapped(lines: Iterable[str], begin: str = "  ") -> list[str]:
    further = " " * len(begin)
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, WIDTH, initial_indent=begin, subsequent_indent=further)
    ]


def as_dict(found: "Assessment") -> dict[str, Any]:
    """Everything, as JSON can hold it."""
    timing, block = found.timing, found.block
    parts = block.parts if block is not None else {}
    return {
        "layer": found.target.name,
        "options": {name: _plain(value) for name, value in found.target.options.items()},
        "conformance": {
            "shapes": [list(shape) for shape in found.shapes],
            "checks": {
                one.name: {"status": one.status, "reason": one.reason} for one in found.checks
            },
        },
        "counted": {
            "shape": list(found.counted_shape),
            "values": found.counted,
            "reasons": dict(found.uncounted),
        },
        "times": {
            "status": str(Status.OK) if _is_timed(found) else "omitted",
            "reason": found.untimed,
            "shape": list(timing.shape),
            "batch": timing.batch,
            "levels": timing.levels,
            "steps_per_level": timing.steps_per_level,
            "width": timing.width,
            "values": block.values if block is not None else {},
            "flows": {name: part.values for name, part in parts.items()},
        },
        "provenance": found.provenance,
    }


def _plain(value: object) -> object:
    """A value as JSON has it, or as Python shows it."""
    kinds = (bool, int, float, str, list, tuple, type(None))
    return value if isinstance(value, kinds) else repr(value)
