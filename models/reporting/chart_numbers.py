"""Write the numbers of a chart as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.reporting.contents import Chart, Line
from models.reporting.numbers import short


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """Heads and rows of texts; the first cell of a row is its head."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def chart_numbers(chart: Chart) -> Numbers:
    """Write a row per x with a column per line.

    Where each line has x of its own, there is a row per point.
    """
    if chart.points or chart.kind == "calibration":
        points = [(line.title, _text(x), _value(line, i)) for line in chart.lines for i, x in enumerate(line.x)]
        return Numbers(heads=["line", chart.x_title, chart.y_title], rows=points)
    every = list(dict.fromkeys(x for line in chart.lines for x in line.x))
    every.sort(key=lambda x: 0.0 if isinstance(x, str) else x)
    found = [{x: _value(line, i) for i, x in enumerate(line.x)} for line in chart.lines]
    rows = [(_text(x), *(values.get(x, "") for values in found)) for x in every]
    return Numbers(heads=[chart.x_title, *(line.title for line in chart.lines)], rows=rows)


def _text(x: float | str) -> str:
    return x if isinstance(x, str) else short(x)


def _value(line: Line, i: int) -> str:
    y = line.y[i]
    if y is None:
        return ""
    low, high = (line.low[i], line.high[i]) if line.low else (None, None)
    return short(y) if low is None or high is None else f"{short(y)} ({short(low)} to {short(high)})"
