"""Figures as they are written, and where their intervals stand in the cell."""

from __future__ import annotations

import pytest

from models.reporting.contents import Column, Figure, Row, Table
from models.reporting.numbers import fixed, outcome, short
from models.reporting.tables import Cell, Reach, shown_table


def cells(column: Column, *figures: Figure) -> list[Cell]:
    rows = [Row(name=str(i), title=str(i), figures=[figure]) for i, figure in enumerate(figures)]
    table = shown_table(Table(name="t", title="t", caption="", columns=[column], rows=rows))
    return [row.cells[0] for group in table.groups for row in group.rows]


@pytest.mark.parametrize(
    ("form", "digits", "text", "interval"),
    [
        ("percent", 2, "+9.61%", "[−1.00, +20.22]"),
        ("percent", 0, "+10%", "[−1, +20]"),
        ("share", 1, "9.6%", "[−1.0, 20.2]"),
        ("change", 3, "+0.096", "[−0.010, +0.202]"),
        ("number", 4, "0.0961", "[−0.0100, 0.2022]"),
    ],
)
def test_a_figure_is_written_in_its_columns_form(form: str, digits: int, text: str, interval: str) -> None:
    (cell,) = cells(Column(title="c", form=form, digits=digits), Figure(mean=0.0961, low=-0.01, high=0.2022))
    assert (cell.text, cell.interval) == (text, interval)


def test_a_figure_that_is_not_there_says_why() -> None:
    failed, nothing = cells(Column(title="c"), Figure(text="failed"), Figure())
    assert (failed.text, failed.missing, failed.value) == ("failed", True, None)
    assert (nothing.text, nothing.missing) == ("–", True)


def test_texts_are_shown_as_they_are() -> None:
    told, empty = cells(Column(title="c", form="text"), Figure(text="lists 80"), Figure())
    assert (told.text, told.missing) == ("lists 80", False)
    assert (empty.text, empty.missing) == ("–", True)


def test_a_change_is_clear_when_its_interval_leaves_zero_out() -> None:
    ends = [(0.01, 0.02), (-0.02, -0.01), (-0.01, 0.01), (0.0, 0.01)]
    figures = [Figure(mean=(low + high) / 2, low=low, high=high) for low, high in ends]
    assert [cell.clear for cell in cells(Column(title="c"), *figures)] == [True, True, False, False]
    assert [cell.clear for cell in cells(Column(title="c", form="number"), *figures)] == [None] * 4


def test_intervals_of_a_column_share_a_scale_with_zero_for_changes() -> None:
    figures = Figure(mean=0.1, low=0.05, high=0.15), Figure(mean=0.15, low=0.1, high=0.2), Figure(mean=9.0)
    first, second, bare = cells(Column(title="c"), *figures)
    assert first.reach == Reach(low=25.0, high=75.0, mean=50.0, zero=0.0)
    assert second.reach == Reach(low=50.0, high=100.0, mean=75.0, zero=0.0)
    assert bare.reach is None
    assert cells(Column(title="c", form="number"), *figures)[0].reach == Reach(low=0.0, high=66.7, mean=33.3, zero=None)


def test_intervals_of_one_point_have_no_scale() -> None:
    (cell,) = cells(Column(title="c", form="share"), Figure(mean=0.5, low=0.5, high=0.5))
    assert cell.reach is None
    assert cell.interval == "[50.00, 50.00]"


def test_rows_of_a_group_come_together() -> None:
    rows = [Row(name=n, title=n, group=g, figures=()) for n, g in (("a", "x"), ("b", "y"), ("c", "x"))]
    table = shown_table(Table(name="t", title="t", caption="", columns=(), rows=rows))
    assert [(g.title, [row.title for row in g.rows]) for g in table.groups] == [("x", ["a", "c"]), ("y", ["b"])]


def test_numbers_are_as_short_as_they_can_be() -> None:
    assert [fixed(x, 2, sign=True) for x in (-0.001, 0.001, 1234.5, -1.0)] == ["0.00", "0.00", "+1,234.50", "−1.00"]
    assert [short(x) for x in (0.3000000001, 10_000.0, 1e6, -0.25, 12.5)] == [
        "0.3",
        "10,000",
        "1,000,000",
        "−0.25",
        "12.5",
    ]
    assert [outcome(x) for x in (0.1234, 12.345, 12345.6)] == ["0.123", "12.35", "12,346"]
