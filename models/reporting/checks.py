"""Check that contents fit together before they are rendered: types alone do not say so."""

from __future__ import annotations

from typing import Final

from models.reporting.contents import Chart, Contents, ListPair, Table

FORMS: Final = ("percent", "share", "change", "number", "text")
KINDS: Final = ("sweep", "front", "learning", "calibration", "positions")


def check(contents: Contents) -> None:
    """Raise `ValueError` naming the table, chart or list pair whose parts do not fit together."""
    for table in contents.tables:
        _check_table(table)
    for chart in contents.charts:
        _check_chart(chart)
    for pair in contents.pairs:
        _check_pair(pair)


def _check_table(table: Table) -> None:
    for column in table.columns:
        if column.form not in FORMS:
            raise ValueError(f"table {table.name!r}, column {column.title!r}: form must be {_either(FORMS)}")
        if not 0 <= column.digits <= 12:
            raise ValueError(f"table {table.name!r}, column {column.title!r}: digits must be within 0..12")
    for row in table.rows:
        if len(row.figures) != len(table.columns):
            raise ValueError(
                f"table {table.name!r}, row {row.name!r}: has {len(row.figures)} figures "
                f"for {len(table.columns)} columns"
            )


def _check_chart(chart: Chart) -> None:
    if chart.kind not in KINDS:
        raise ValueError(f"chart {chart.name!r}: kind must be {_either(KINDS)}, not {chart.kind!r}")
    for line in chart.lines:
        for name, values in (("y", line.y), ("low", line.low), ("high", line.high)):
            if len(values) != len(line.x) and (values or name == "y"):
                raise ValueError(
                    f"chart {chart.name!r}, line {line.title!r}: has {len(values)} values of {name} "
                    f"for {len(line.x)} of x"
                )
        if bool(line.low) != bool(line.high):
            raise ValueError(f"chart {chart.name!r}, line {line.title!r}: needs both low and high, or neither")
    texts = {isinstance(x, str) for line in chart.lines for x in line.x}
    if len(texts) > 1:
        raise ValueError(f"chart {chart.name!r}: x must be all numbers or all texts")
    if chart.log_x and any(isinstance(x, str) or x <= 0 for line in chart.lines for x in line.x):
        raise ValueError(f"chart {chart.name!r}: log_x needs numbers above 0 as x")


def _check_pair(pair: ListPair) -> None:
    for side, items in (("before", pair.before), ("after", pair.after)):
        ids = [item.id for item in items]
        if len(set(ids)) < len(ids):
            raise ValueError(f"lists {pair.title!r}: {side} has an item twice")
        for item in items:
            if not -1 <= item.queue < len(pair.queues):
                raise ValueError(
                    f"lists {pair.title!r}: {side} has item {item.id!r} of queue {item.queue}, "
                    f"and there are {len(pair.queues)} queues"
                )


def _either(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
