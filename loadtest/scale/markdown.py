"""Write tables, numbers, sizes and durations as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from loadtest.scale.demand import HOUR

_TEXT: Final = ("", "how", "figure", "kind", "place", "load of the host", "requests/s · items · lists a month")
"""Columns without numbers, by their heads."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write Markdown with numbers to the right. Columns are not padded."""
    marks = "|".join("---" if name in _TEXT else "---:" for name in head)
    lines = (f"| {' | '.join(line)} |" for line in (head, *rows))
    return "\n".join((next(lines), f"|{marks}|", *lines))


def number(value: float) -> str:
    """Write three digits that count, and below a million all before the point."""
    if not value:
        return "0"
    for unit, each in (("billion", 1e9), ("million", 1e6)):
        if value >= each:
            return f"{number(value / each)} {unit}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def size(value: float) -> str:
    """Write bytes."""
    for unit, each in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= each:
            return f"{number(value / each)} {unit}"
    return f"{number(value)} B"


def time(seconds: float) -> str:
    """Write a duration."""
    if seconds >= HOUR:
        return f"{number(seconds / HOUR)} h"
    return f"{number(seconds / 60)} min" if seconds >= 60 else f"{number(seconds)} s"
