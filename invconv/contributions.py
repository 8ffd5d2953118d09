"""What the commands do with layers and rows of others: assess, check-submission and import."""

import argparse
import ast
import json
import sys

from invconv.files import write_text_atomically
from invconv.rows.row import RowsError
from invconv.validation import check_shape


def assess_layer(options: argparse.Namespace) -> int:
    """Prints what there is to know about a layer; 1 if it fails a check, 2 if there is none."""
    from invconv.assessing import TargetError, assess

    sizes = {"channels": options.channels, "size": options.size, "batch": options.batch}
    how = {"quick": options.quick, "allow_noisy": options.allow_noisy, "device": options.device}
    try:
        arguments = dict(map(_option, options.option))
        shapes = [_shape(text) for text in options.shapes]
        found = assess(options.layer, arguments, shapes=shapes, **sizes, **how)
    except (TargetError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(found)
    if options.json:
        write_text_atomically(json.dumps(found.as_dict(), indent=1) + "\n", options.json)
    return 1 if found.failed else 0


def _option(text: str) -> tuple[str, object]:
    """NAME=VALUE, with the value as Python reads it, or as it is written."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"an option must be NAME=VALUE, such as kernel_size=5, not {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _shape(text: str) -> tuple[int, int, int]:
    """(C, H, W) of a text such as 4x3x2."""
    parts = text.replace("×", "x").split("x")
    return check_shape([int(part) if part.isdecimal() else part for part in parts])


def check_submission(options: argparse.Namespace) -> int:
    """Verifies rows that somebody submits, and the weights behind them."""
    from invconv.tables.submission import check_submission

    found = check_submission(options.folder, options.root, print)
    print(f"{options.folder}: everything fits, weights verified: {len(found)}")
    return 0


def import_file(options: argparse.Namespace) -> int:
    """Adds rows that somebody else measured."""
    from invconv.tables.importing import import_rows

    try:
        table, frame = import_rows(options.rows, options.label, options.results)
    except RowsError as error:
        print(f"{options.rows}: {error}", file=sys.stderr)
        return 1
    print(f"{table}: {len(frame)} rows, {options.results / table}.md")
    return 0
