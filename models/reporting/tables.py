"""Prepare tables: figures as texts, and each interval's place on its column's scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.reporting.contents import Column, Figure, Row, Table
from models.reporting.numbers import CHANGES, fixed, interval_text, mean_text

MISSING: Final = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Places of an interval, its mean and zero, in percent of a cell's width.

    `zero` is None where it is outside the column's scale.
    """

    low: float
    high: float
    mean: float
    zero: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A figure as texts.

    `clear` tells whether the interval of a change leaves zero out, and is None for other figures. `value` is the bare
    mean, to sort by.
    """

    text: str
    interval: str = ""
    missing: bool = False
    clear: bool | None = None
    reach: Reach | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRow:
    """A row's name, note and cells."""

    title: str
    note: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows under one heading; its title is empty where rows have no group."""

    title: str
    rows: Sequence[ShownRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTable:
    """A table as the template needs it."""

    title: str
    caption: str
    columns: Sequence[Column]
    groups: Sequence[Group]
    grey: bool


def shown_table(table: Table) -> ShownTable:
    """Prepare a table.

    Rows of one group come together, groups in the order of their first rows.
    """
    scales = [_scale(column, [row.figures[i] for row in table.rows]) for i, column in enumerate(table.columns)]
    groups: dict[str, list[ShownRow]] = {}
    for row in table.rows:
        groups.setdefault(row.group, []).append(_row(row, table.columns, scales))
    shown = [Group(title=title, rows=rows) for title, rows in groups.items()]
    grey = any(cell.clear is False for group in shown for row in group.rows for cell in row.cells)
    return ShownTable(title=table.title, caption=table.caption, columns=table.columns, groups=shown, grey=grey)


_Scale = tuple[float, float]


def _row(row: Row, columns: Sequence[Column], scales: Sequence[_Scale | None]) -> ShownRow:
    cells = [_cell(*parts) for parts in zip(row.figures, columns, scales, strict=True)]
    return ShownRow(title=row.title, note=row.note, cells=cells)


def _cell(figure: Figure, column: Column, scale: _Scale | None) -> Cell:
    if figure.mean is None or column.form == "text":
        told = figure.text or (MISSING if figure.mean is None else fixed(figure.mean, column.digits))
        return Cell(text=told, missing=column.form != "text" or not figure.text, value=figure.mean)
    text = mean_text(figure.mean, column)
    if figure.low is None or figure.high is None:
        return Cell(text=text, value=figure.mean)
    clear = not figure.low <= 0 <= figure.high if column.form in CHANGES else None
    reach = _reach(figure.low, figure.high, figure.mean, scale)
    return Cell(text=text, interval=interval_text(figure, column), clear=clear, reach=reach, value=figure.mean)


def _scale(column: Column, figures: Sequence[Figure]) -> _Scale | None:
    """Return the least and the most of a column's intervals; None where they are one.

    Of changes, zero is among them.
    """
    ends = [x for f in figures if f.mean is not None for x in (f.low, f.high) if x is not None and math.isfinite(x)]
    if column.form in CHANGES and ends:
        ends.append(0.0)
    return (min(ends), max(ends)) if ends and min(ends) < max(ends) else None


def _reach(low: float, high: float, mean: float, scale: _Scale | None) -> Reach | None:
    if scale is None:
        return None
    least, most = scale

    def place(value: float) -> float:
        return round(100 * min(max((value - least) / (most - least), 0.0), 1.0), 1)

    zero = place(0.0) if least <= 0 <= most else None
    return Reach(low=place(low), high=place(high), mean=place(mean), zero=zero)
