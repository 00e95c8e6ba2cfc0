"""Compile the rules of one request: which candidates may be returned, and what counts where.

Axis letters: n candidates, S shown items just before the list, C constraints, K rules that have constraints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.contract.arrays import Bools, Floats, Floats32, Ints
from models.contract.candidates import Candidates, as_table
from models.contract.rules.columns import NO_VALUE, Columns
from models.contract.rules.definition import (
    LARGEST_FACTOR,
    MOST_GROUPS,
    SMALLEST_FACTOR,
    Cap,
    Floor,
    Rules,
    Shown,
    ShownLike,
)
from models.contract.rules.pins import pins_break, place_pins
from models.contract.rules.seen import seen_cosines
from models.contract.scalars import FeatureError

_NONE_SHOWN: Final = np.zeros(0, np.bool_)
_LONGEST_NAME: Final = 64

LookUp = Callable[[Sequence[str]], Sequence[ShownLike | None]]
"""Returns what is known of items with these ids, None for an unknown one."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """Allow at most `limit` of the `members` [n] in every window of places that counts.

    `rule` names the rule that it comes from. `first` and `last` are the places, from 0, at which windows begin: a cap
    without a window, and a floor, have one window at place 0; a cap with a window also has those that begin among the
    shown items (negative places). `shown` [S] flags the shown items that count, oldest first; the last of them stands
    at place −1. It is empty if none counts.
    """

    rule: str
    members: Bools
    limit: int
    window: int
    first: int
    last: int
    shown: Bools

    @property
    def is_floor(self) -> bool:
        """Tell whether it comes from a floor.

        Then its members are those that the floor does not want.
        """
        return self.rule.startswith("floors")


@dataclass(frozen=True, slots=True)
class Ruling:
    """Hold the compiled rules of one request.

    `allowed` [n] flags the candidates that may be returned at all, and `length` counts the places of the list:
    min(top_n, allowed). `pins` maps places, from 0, to candidates, both within the list. `counted_in` [K, n] says for
    each rule which of the `constraints` a candidate counts in, −1: none; `spare` [C] are their limits less the shown
    items that count. `boosts` [n] are factors, None if all are 1. `seen` [length, n] is, for each place, the largest
    cosine of a candidate to the shown items that MMR still looks back on there, NaN for none; None if there is none at
    all. `relaxed` names the rules that cannot be kept whatever the list is: floors of which too few exist, and caps
    that pins break. `ignored_pins` are ids of pins that are no candidates, that are blocked or shown, or whose position
    is past top_n or an earlier pin's, in their order. `unused` are the names of `by` and `where` that no candidate has.
    """

    allowed: Bools
    length: int
    pins: Mapping[int, int]
    constraints: tuple[Constraint, ...]
    counted_in: Ints
    spare: Ints
    boosts: Floats | None
    seen: Floats32 | None
    relaxed: tuple[str, ...]
    ignored_pins: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def binds(self) -> bool:
        """Tell whether anything but leaving candidates out can change a list."""
        return bool(self.pins or self.constraints) or self.boosts is not None or self.seen is not None

    def held(self, candidates: Ints) -> Ints:
        """Count the members of each constraint [C] among `candidates`."""
        found = self.counted_in[:, candidates]
        return np.bincount(found[found >= 0], minlength=len(self.constraints))

    def excess(self, candidates: Ints) -> Ints:
        """Count by how many the `candidates` and shown items of each constraint exceed its limit [C]."""
        return self.held(candidates) - self.spare


def compile_rules(
    candidates: Candidates,
    rules: Rules,
    *,
    shown: Sequence[str] = (),
    shown_items: Sequence[ShownLike] = (),
    top_n: int,
    mmr_window: int = 0,
    look_up: LookUp | None = None,
) -> Ruling:
    """Compile rules for these candidates.

    `shown` are the ids of earlier pages, oldest first; what is known of them comes from `shown_items`, else from the
    candidates, else from `look_up`, which is asked once, for those within reach. `mmr_window` is the number of last
    items that MMR looks back on, 0 if it charges nothing. Raises `FeatureError` at ``rules.caps[i]`` where the groups
    become more than `MOST_GROUPS`, and `ValueError` if shown items that MMR reaches have embeddings of another length
    than the candidates'.
    """
    table = as_table(candidates)
    ids = table.ids
    places = dict(zip(ids, range(len(ids)), strict=True))
    out = rules.blocked.union(shown)
    allowed = np.array([i not in out for i in ids], np.bool_) if out else np.ones(len(ids), np.bool_)
    length = min(top_n, int(allowed.sum()))
    pins, ignored = place_pins(rules.pinned, places, allowed, top_n, length)
    columns = Columns(table)
    own = {item.id: item for item in shown_items}
    recent = shown[len(shown) - min(len(shown), _reach(rules, mmr_window)) :]
    known: list[Shown] = [own.get(i, places.get(i)) for i in recent]
    if look_up is not None and None in known:
        known = _completed(known, recent, look_up)
    writer = _Writer(columns, allowed, length, pins, known)
    writer.caps(rules.caps)
    writer.floors(rules.floors)
    return Ruling(
        allowed=allowed,
        length=length,
        pins=pins,
        constraints=tuple(writer.constraints),
        counted_in=np.array(writer.counted_in, np.int64).reshape(-1, len(ids)),
        spare=np.array([c.limit - np.count_nonzero(c.shown) for c in writer.constraints], np.int64),
        boosts=_boosts(rules, columns, len(ids)),
        seen=seen_cosines(table, known, mmr_window, length),
        relaxed=tuple(dict.fromkeys(writer.relaxed)),
        ignored_pins=ignored,
        unused=_unused(rules, columns),
    )


def _completed(known: Sequence[Shown], ids: Sequence[str], look_up: LookUp) -> list[Shown]:
    """Look up the shown items of which nothing is known."""
    found = iter(look_up([i for i, item in zip(ids, known, strict=True) if item is None]))
    return [next(found) if item is None else item for item in known]


class _Writer:
    """Write caps and floors as constraints, and name those that no list can keep.

    `known` holds what is known of the last shown items, oldest first; `relaxed` collects the names. `constraints` and
    `counted_in` are those of a `Ruling`.
    """

    def __init__(
        self,
        columns: Columns,
        allowed: Bools,
        length: int,
        pins: Mapping[int, int],
        known: Sequence[Shown],
    ) -> None:
        self._columns, self._allowed, self._length, self._known = columns, allowed, length, known
        self._pin_places, self._pinned = list(pins), list(pins.values())
        self.constraints: list[Constraint] = []
        self.counted_in: list[Ints] = []
        self.relaxed: list[str] = []

    def caps(self, caps: Sequence[Cap]) -> None:
        """Write one constraint per group that can exceed its limit."""
        for i, cap in enumerate(caps):
            self._cap(f"caps[{i}]", cap)

    def floors(self, floors: Sequence[Floor]) -> None:
        """Write each floor as a cap on all other candidates, unless it is kept anyway."""
        for i, floor in enumerate(floors):
            self._floor(f"floors[{i}]", floor)

    def _cap(self, rule: str, cap: Cap) -> None:
        codes, numbers = self._columns.column(cap.by).codes, self._columns.column(cap.by).numbers
        window = self._length if cap.window is None else cap.window
        back = 0 if cap.window is None else min(window - 1, len(self._known))
        before = self._columns.shown_codes(cap.by, self._known[len(self._known) - back :])
        sizes = np.bincount(codes[self._allowed], minlength=len(numbers))
        sizes[NO_VALUE] = 0
        held = np.bincount(before, minlength=len(numbers))
        most = np.minimum(np.minimum(sizes, self._length) + held, window)
        groups = np.flatnonzero((sizes > 0) & (most > cap.limit))
        self._check_number(rule, cap.by, len(groups))
        members = self._members(codes, groups, len(numbers))
        shown = [np.equal(before, group) if held[group] else _NONE_SHOWN for group in groups.tolist()]
        self._note_broken(rule, cap.limit, window, members, shown)
        last = 0 if cap.window is None else self._length - window
        for flags, seen in zip(members, shown, strict=True):
            self.constraints.append(Constraint(rule, flags, cap.limit, window, -len(seen), max(-len(seen), last), seen))

    def _check_number(self, rule: str, by: str, groups: int) -> None:
        """Raise `FeatureError` if `groups` more would be too many."""
        if len(self.constraints) + groups > MOST_GROUPS:
            problem = f"{groups} values of {by[:_LONGEST_NAME]!r} can exceed the limit"
            raise FeatureError(f"rules.{rule}", f"{problem}; all caps may have {MOST_GROUPS} groups")

    def _members(self, codes: Ints, groups: Ints, numbers: int) -> Bools:
        """Flag the members [len(groups), n] of every group, and fill `counted_in`."""
        # Not by comparing every group with every candidate, which takes long where there are very many of both.
        members = np.zeros((len(groups), len(codes)), np.bool_)
        if not len(groups):
            return members
        row_of = np.full(numbers, -1)
        row_of[groups] = np.arange(len(groups))
        rows = np.where(self._allowed, row_of[codes], -1)
        inside = np.flatnonzero(rows >= 0)
        members[rows[inside], inside] = True
        self.counted_in.append(np.where(rows >= 0, rows + len(self.constraints), -1))
        return members

    def _floor(self, rule: str, floor: Floor) -> None:
        having = self._columns.column(floor.by).having(floor.value)
        places = min(floor.within, self._length)
        inside = [place < places for place in self._pin_places]
        pinned = having[self._pinned].tolist()
        # What pins put behind the places, or in them from outside the group, is not there for the floor.
        lost = sum(has and not is_in for has, is_in in zip(pinned, inside, strict=True))
        blocked = sum(is_in and not has for has, is_in in zip(pinned, inside, strict=True))
        least = min(floor.least, np.count_nonzero(having & self._allowed) - lost, places - blocked)
        if least < floor.least:
            self.relaxed.append(rule)
        others = np.greater(self._allowed, having)
        if min(np.count_nonzero(others), places) > places - least:
            self.counted_in.append(np.where(others, len(self.constraints), -1))
            self.constraints.append(Constraint(rule, others, places - least, places, 0, 0, _NONE_SHOWN))

    def _note_broken(self, rule: str, limit: int, window: int, members: Bools, shown: Sequence[Bools]) -> None:
        """Note a cap if pins break it in one of its groups."""
        if not self._pinned:
            return
        pinned = members[:, self._pinned]
        for group in np.flatnonzero(pinned.any(axis=1)).tolist():
            own = [place for place, is_in in zip(self._pin_places, pinned[group].tolist(), strict=True) if is_in]
            before = (np.flatnonzero(shown[group]) - len(shown[group])).tolist()
            if pins_break(own, before, limit, window):
                self.relaxed.append(rule)
                return


def _reach(rules: Rules, mmr_window: int) -> int:
    """Count the shown items that a window can hold beside the first place."""
    return max([mmr_window, *(cap.window - 1 for cap in rules.caps if cap.window is not None)])


def _boosts(rules: Rules, columns: Columns, n: int) -> Floats | None:
    """Multiply every candidate's factors [n]; None if all are 1.

    The product stays within the bounds of one factor, or 32 of them would pass float32.
    """
    if not rules.boosts:
        return None
    factors = np.ones(n)
    for boost in rules.boosts:
        matches = [columns.column(name).having(value) for name, value in boost.where.items()]
        factors[np.logical_and.reduce(matches)] *= boost.factor
    factors = np.clip(factors, SMALLEST_FACTOR, LARGEST_FACTOR)
    return None if np.equal(factors, 1).all() else factors


def _unused(rules: Rules, columns: Columns) -> tuple[str, ...]:
    """Name the fields that rules ask for and no candidate has."""
    names = [cap.by for cap in rules.caps] + [floor.by for floor in rules.floors]
    names += [name for boost in rules.boosts for name in boost.where]
    return tuple(name for name in dict.fromkeys(names) if columns.column(name).is_empty)
