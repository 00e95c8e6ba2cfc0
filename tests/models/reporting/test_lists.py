"""Two lists of a request: who moved where, and what the lists are worth."""

from __future__ import annotations

from models.reporting.contents import ListPair, ShownItem
from models.reporting.lists import shown_pair


def item(name: str, queue: int = -1, click: float = 0.1, **attributes: str) -> ShownItem:
    return ShownItem(id=name, attributes=attributes, queue=queue, click=click, conversion=0.01, gmv=2.0)


def pair(before: list[ShownItem], after: list[ShownItem]) -> ListPair:
    return ListPair(title="t", user={}, queues=("click", "GMV", "price"), before=before, after=after)


def test_moves_are_from_before_to_after_on_both_sides() -> None:
    shown = shown_pair(pair([item(name) for name in "abcd"], [item(name) for name in "caex"]))
    before, after = ({e.id: e.move.places for e in side.entries} for side in shown.sides)
    assert before == {"a": -1, "b": None, "c": 2, "d": None}
    assert after == {"c": 2, "a": -1, "e": None, "x": None}
    assert shown.kept == 2


def test_sums_run_down_the_list_and_totals_are_compared() -> None:
    shown = shown_pair(pair([item("a"), item("b")], [item("b", click=0.2), item("a", click=0.1)]))
    before, after = shown.sides
    assert [entry.sums[0] for entry in after.entries] == ["0.200", "0.300"]
    assert (before.totals, after.totals) == (["0.200", "0.020", "4.000"], ["0.300", "0.020", "4.000"])
    assert after.changes == ["+50.0%", "0.0%", "0.0%"]
    assert before.changes == ["", "", ""]


def test_a_list_against_nothing_has_no_change() -> None:
    after = shown_pair(pair([], [item("a")])).sides[1]
    assert after.changes == ["", "", ""]


def test_queues_that_are_used_are_named() -> None:
    shown = shown_pair(pair([item("a", queue=0)], [item("b", queue=2), item("a")]))
    assert shown.used == [(0, "click"), (2, "price")]


def test_the_price_stands_apart_from_other_attributes() -> None:
    (entry,) = shown_pair(pair([item("a", brand="b1", Price="9.90")], [])).sides[0].entries
    assert entry.price == "9.90"
    assert entry.attributes == [("brand", "b1")]
