"""Numbers and tables in Markdown."""

import pandas as pd

ABSENT = "–"


def number(value: float | None, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits, without an exponent from 1e-4 to 1e6."""
    if value is None or pd.isna(value):
        return ABSENT
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def bits(value: float | None) -> str:
    """Bits per dimension, two decimals as the papers print them and one more."""
    return ABSENT if value is None or pd.isna(value) else f"{value:.3f}"


def with_quartiles(median: float, q25: float, q75: float) -> str:
    """``median [q25, q75]``."""
    return ABSENT if pd.isna(median) else f"{number(median)} [{number(q25)}, {number(q75)}]"


def ratio(measured: float | None, published: float | None) -> str:
    """measured ÷ published, where there are both."""
    if measured is None or published is None or pd.isna(measured) or pd.isna(published):
        return ABSENT
    return f"{measured / published:.2f}"


def table(rows: list[dict[str, str]]) -> str:
    """A Markdown table; the keys of the rows are its columns."""
    frame = pd.DataFrame(rows).fillna(ABSENT).astype(str)
    frame = frame.map(lambda text: text.replace("|", "\\|"))
    numeric = [
        "right" if frame[name].str.match(r"^[\d–−-]").all() else "left" for name in frame.columns
    ]
    return str(frame.to_markdown(index=False, colalign=numeric, disable_numparse=True))
