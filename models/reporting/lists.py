"""Prepare two lists of one request: moves, queues, outcomes and their running sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from models.reporting.contents import ListPair, ShownItem
from models.reporting.numbers import fixed, outcome

_PRICE: Final = "price"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """An item's move from before to after.

    `places` says how far it rose (negative: fell), None that the other list lacks it.
    """

    places: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An item at its place; its outcomes and their sums up to it are texts."""

    id: str
    price: str
    attributes: Sequence[tuple[str, str]]
    queue: int
    move: Move
    outcomes: Sequence[str]
    sums: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two lists.

    `changes` are the totals of the later list against the earlier one's, as far as these are above zero.
    """

    title: str
    later: bool
    entries: Sequence[Entry]
    totals: Sequence[str]
    changes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPair:
    """A pair of lists for the template; `used` are the queues of its items."""

    title: str
    user: Mapping[str, str]
    used: Sequence[tuple[int, str]]
    sides: Sequence[Side]
    kept: int


def shown_pair(pair: ListPair) -> ShownPair:
    """Prepare a pair of lists."""
    before, after = pair.sides
    used = sorted({item.queue for item in (*pair.before, *pair.after) if item.queue >= 0})
    return ShownPair(
        title=pair.title,
        user=pair.user,
        used=[(queue, pair.queues[queue]) for queue in used],
        sides=[_side(before, pair.before, pair.after), _side(after, pair.after, pair.before, later=True)],
        kept=len({item.id for item in pair.before} & {item.id for item in pair.after}),
    )


def _side(title: str, items: Sequence[ShownItem], others: Sequence[ShownItem], later: bool = False) -> Side:
    places = {item.id: place for place, item in enumerate(others)}
    sums = list(accumulate(map(_outcomes, items), _plus))
    totals, against = sums[-1] if sums else (0.0,) * 3, _total(others)
    entries = []
    for place, (item, so_far) in enumerate(zip(items, sums, strict=True)):
        other = places.get(item.id)
        rise = None if other is None else (other - place) * (1 if later else -1)
        entries.append(_entry(item, so_far, Move(places=rise)))
    changes = [_change(a, b) if later else "" for a, b in zip(totals, against, strict=True)]
    written = [outcome(total) for total in totals]
    return Side(title=title, later=later, entries=entries, totals=written, changes=changes)


def _entry(item: ShownItem, sums: Sequence[float], move: Move) -> Entry:
    price = next((value for name, value in item.attributes.items() if name.lower() == _PRICE), "")
    return Entry(
        id=item.id,
        price=price,
        attributes=[(name, value) for name, value in item.attributes.items() if name.lower() != _PRICE],
        queue=item.queue,
        move=move,
        outcomes=[outcome(value) for value in _outcomes(item)],
        sums=[outcome(value) for value in sums],
    )


def _outcomes(item: ShownItem) -> tuple[float, ...]:
    return item.click, item.conversion, item.gmv


def _plus(a: Sequence[float], b: Sequence[float]) -> tuple[float, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _total(items: Sequence[ShownItem]) -> tuple[float, ...]:
    return tuple(map(sum, zip(*map(_outcomes, items), strict=True))) if items else (0.0,) * 3


def _change(value: float, base: float) -> str:
    return f"{fixed(100 * (value / base - 1), 1, sign=True)}%" if base > 0 else ""
