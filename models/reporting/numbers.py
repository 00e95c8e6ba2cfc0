"""Write numbers for reading: a true minus, separators of thousands, no negative zero."""

from __future__ import annotations

from typing import Final

from models.reporting.contents import Column, Figure

MINUS: Final = "\N{MINUS SIGN}"
OF_ONE: Final = ("percent", "share")
"""Forms of numbers that are written in percent."""

CHANGES: Final = ("percent", "change")
"""Forms of which zero means that there is no difference."""


def fixed(value: float, digits: int, *, sign: bool = False) -> str:
    """Write a number with fixed digits, with a plus before a positive one on request."""
    text = f"{value:{'+' if sign else ''},.{digits}f}"
    if not any(mark in "123456789" for mark in text):
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def short(value: float) -> str:
    """Write a number as short as it is."""
    text = f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.4g}" if abs(value) < 1000 else f"{value:,.6g}"
    return text.replace("-", MINUS)


def outcome(value: float) -> str:
    """Write an expected outcome: three digits behind the point, fewer the larger it is."""
    size = abs(value)
    return fixed(value, 3 if size < 10 else 2 if size < 1000 else 0)


def mean_text(mean: float, column: Column) -> str:
    """Write a mean in its column's form."""
    return _written(mean, column) + ("%" if column.form in OF_ONE else "")


def interval_text(figure: Figure, column: Column) -> str:
    """Write a figure's interval in brackets, without units; empty where it has none."""
    if figure.low is None or figure.high is None:
        return ""
    return f"[{_written(figure.low, column)}, {_written(figure.high, column)}]"


def figure_text(figure: Figure, column: Column) -> str:
    """Write a figure in its column's form, with its interval in brackets."""
    if figure.mean is None:
        return figure.text
    return f"{mean_text(figure.mean, column)} {interval_text(figure, column)}".rstrip()


def gain_text(figure: Figure, digits: int = 2) -> str:
    """Write a relative gain in percent, with its interval."""
    return figure_text(figure, Column(title="", digits=digits))


def _written(value: float, column: Column) -> str:
    return fixed(100 * value if column.form in OF_ONE else value, column.digits, sign=column.form in CHANGES)
