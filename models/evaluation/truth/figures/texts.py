"""Write figures as texts."""

from __future__ import annotations

from models.reporting.contents import Column, Figure


def figure_text(figure: Figure, column: Column) -> str:
    """Write a figure in its column's form, with its interval in brackets."""
    if figure.mean is None:
        return figure.text
    text = _number(figure.mean, column)
    if figure.low is None or figure.high is None:
        return text
    return f"{text} [{_number(figure.low, column)}, {_number(figure.high, column)}]"


def gain_text(figure: Figure, digits: int = 2) -> str:
    """Write a relative gain in percent, with its interval."""
    return figure_text(figure, Column(title="", digits=digits))


def _number(value: float, column: Column) -> str:
    if column.form == "percent":
        text = f"{value:+.{column.digits}%}"
    elif column.form == "share":
        text = f"{value:.0%}"
    else:
        text = f"{value:,.{column.digits}f}"
    # A number that rounds to 0 has no sign.
    return text if any(digit in text for digit in "123456789") else text.lstrip("+-")
