"""Write numbers for reading: a true minus, separators of thousands, no negative zero."""

from __future__ import annotations

from typing import Final

MINUS: Final = "\N{MINUS SIGN}"


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
