"""Compile the rules of one request: which candidates may be returned, and what counts where.

Axis letters: n candidates, S shown items just before the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from models.contract.arrays import Bools, Floats, Floats32
from models.contract.features import Scalar, canonical_text, unit_embeddings
from models.contract.rules.definition import Cap, Floor, RuledCandidate, Rules, ShownLike, value_of

Texts = list[str | None]


@dataclass(frozen=True, slots=True)
class _Embedded:
    """Hold an embedding as a candidate does."""

    embedding: Sequence[float] | None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    price: float | None = None
    features: Mapping[str, Scalar] = field(default_factory=dict)


_NOBODY: Final = np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True)
class Constraint:
    """Allow at most `limit` of the `members` [n] in every window of places that counts.

    `rule` names the rule that it comes from. `first` and `last` are the places, from 0, at which windows begin: a cap
    without a window, and a floor, have one window at place 0; a cap with a window also has those that begin among the
    shown items (negative places). `shown` [S] flags the shown items that count, oldest first; the last of them stands
    at place −1.
    """

    rule: str
    members: Bools
    limit: int
    window: int
    first: int
    last: int
    shown: Bools


@dataclass(frozen=True, slots=True)
class Ruling:
    """Hold the compiled rules of one request.

    `allowed` [n] flags the candidates that may be returned at all, and `length` counts the places of the list:
    min(top_n, allowed). `pins` maps places, from 0, to candidates, both within the list. `boosts` [n] are factors, None
    if all are 1. `seen` [length, n] is, for each place, the largest cosine of a candidate to the shown items that MMR
    still looks back on there, NaN for none; None if there is none at all. `relaxed` names the rules that cannot be kept
    whatever the list is: floors of which too few exist, and caps that pins break. `ignored_pins` are ids of pins that
    are no candidates, or that are blocked or shown, in their order. `unused` are the names of `by` and `where` that no
    candidate has.
    """

    allowed: Bools
    length: int
    pins: Mapping[int, int]
    constraints: tuple[Constraint, ...]
    boosts: Floats | None
    seen: Floats32 | None
    relaxed: tuple[str, ...]
    ignored_pins: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def binds(self) -> bool:
        """Tell whether anything but leaving candidates out can change a list."""
        return bool(self.pins or self.constraints) or self.boosts is not None or self.seen is not None


def compile_rules(
    candidates: Sequence[RuledCandidate],
    rules: Rules,
    *,
    shown: Sequence[str] = (),
    shown_items: Sequence[ShownLike] = (),
    top_n: int,
    mmr_window: int = 0,
) -> Ruling:
    """Compile rules for these candidates.

    `shown` are the ids of earlier pages, oldest first; what is known of them comes from `shown_items`, else from the
    candidates. `mmr_window` is the number of last items that MMR looks back on, 0 if it charges nothing.
    """
    found = _Compiler(candidates, rules, shown, shown_items, top_n)
    constraints = (*found.caps(), *found.floors())
    return Ruling(
        allowed=found.allowed,
        length=found.length,
        pins=found.pins,
        constraints=constraints,
        boosts=found.boosts(),
        seen=found.seen(mmr_window) if mmr_window else None,
        relaxed=found.relaxed(constraints),
        ignored_pins=found.ignored_pins,
        unused=found.unused(),
    )


class _Compiler:
    """Hold what all parts of one ruling need."""

    def __init__(
        self,
        candidates: Sequence[RuledCandidate],
        rules: Rules,
        shown: Sequence[str],
        shown_items: Sequence[ShownLike],
        top_n: int,
    ) -> None:
        self._candidates, self._rules, self._shown = candidates, rules, shown
        self._texts: dict[str, Texts] = {}
        self._cut: list[str] = []
        ids = [candidate.id for candidate in candidates]
        self._places = dict(zip(ids, range(len(ids)), strict=True))
        out = rules.blocked.union(shown)
        self.allowed = np.array([i not in out for i in ids], np.bool_)
        self.length = min(top_n, int(self.allowed.sum()))
        self.pins, self.ignored_pins = self._place_pins(top_n)
        known: dict[str, ShownLike] = {item.id: item for item in shown_items}
        self._known: list[ShownLike | None] = [
            known.get(i) or (candidates[self._places[i]] if i in self._places else None) for i in shown
        ]

    def caps(self) -> Iterator[Constraint]:
        """Write the constraints of caps: one per group that can exceed the limit."""
        for i, cap in enumerate(self._rules.caps):
            yield from self._cap(f"caps[{i}]", cap)

    def floors(self) -> Iterator[Constraint]:
        """Write the constraints of floors, as caps on all other candidates, and note which were cut."""
        for i, floor in enumerate(self._rules.floors):
            yield from self._floor(f"floors[{i}]", floor)

    def boosts(self) -> Floats | None:
        """Multiply every candidate's factors [n]; None if all are 1."""
        factors = np.ones(len(self._candidates))
        for boost in self._rules.boosts:
            matches = np.ones(len(self._candidates), np.bool_)
            for name, value in boost.where.items():
                matches &= self._having(name, value)
            factors[matches] *= boost.factor
        return None if (factors == 1).all() else factors

    def seen(self, window: int) -> Floats32 | None:
        """Compute the largest cosines [length, n] to the shown items that MMR still looks back on."""
        recent = self._known[-window:]
        if not any(item is not None and item.embedding for item in recent):
            return None
        rows = unit_embeddings(self._candidates)
        others = unit_embeddings([_Embedded(None if item is None else item.embedding) for item in recent])
        own, known = np.any(rows, axis=1), np.any(others, axis=1)
        if not own.any() or not known.any():
            return None
        if rows.shape[1] != others.shape[1]:
            raise ValueError(f"shown items have embeddings of {others.shape[1]} numbers, candidates {rows.shape[1]}")
        cosines = np.where(np.logical_and.outer(known, own), others @ rows.T, np.float32(np.nan))
        # Row k: the largest to the last k + 1 shown items.
        largest = np.fmax.accumulate(cosines[::-1], axis=0)
        found = np.full((self.length, len(rows)), np.nan, np.float32)
        for place in range(min(window, self.length)):
            found[place] = largest[min(window - place, len(largest)) - 1]
        return None if np.isnan(found).all() else found

    def relaxed(self, constraints: Sequence[Constraint]) -> tuple[str, ...]:
        """Name the rules that no list can keep, caps first."""
        broken = [c.rule for c in constraints if _pins_break(c, self.pins)]
        return tuple(dict.fromkeys([*broken, *self._cut]))

    def unused(self) -> tuple[str, ...]:
        """Name what caps, floors and boosts ask for and no candidate has."""
        names = [cap.by for cap in self._rules.caps] + [floor.by for floor in self._rules.floors]
        names += [name for boost in self._rules.boosts for name in boost.where]
        return tuple(name for name in dict.fromkeys(names) if not any(t is not None for t in self._text(name)))

    def _place_pins(self, top_n: int) -> tuple[dict[int, int], tuple[str, ...]]:
        """Give every pin that can be kept its place; those past the list take its last free ones."""
        kept: dict[int, int] = {}
        ignored: list[str] = []
        for pin in self._rules.pinned:
            candidate = self._places.get(pin.id, -1)
            place = pin.position - 1
            possible = candidate >= 0 and self.allowed[candidate] and place < top_n
            if possible and place not in kept and candidate not in kept.values():
                kept[place] = candidate
            else:
                ignored.append(pin.id)
        return _within(kept, self.length), tuple(ignored)

    def _cap(self, rule: str, cap: Cap) -> Iterator[Constraint]:
        """Write the constraints of one cap."""
        texts = self._text(cap.by)
        groups: dict[str, list[int]] = {}
        for i in np.flatnonzero(self.allowed).tolist():
            if (text := texts[i]) is not None:
                groups.setdefault(text, []).append(i)
        window = self.length if cap.window is None else cap.window
        back = 0 if cap.window is None else min(window - 1, len(self._shown))
        before = [None if item is None else _text_of(item, cap.by) for item in self._known[len(self._known) - back :]]
        last = 0 if cap.window is None else max(-back, self.length - window)
        for text, members in groups.items():
            held = before.count(text)
            if min(min(len(members), self.length) + held, window) <= cap.limit:
                continue
            flags = np.zeros(len(texts), np.bool_)
            flags[members] = True
            yield Constraint(
                rule, flags, cap.limit, window, -back, last, np.array([t == text for t in before], np.bool_)
            )

    def _floor(self, rule: str, floor: Floor) -> Iterator[Constraint]:
        """Write the constraint of one floor, if anything stands against it."""
        having = self._having(floor.by, floor.value) & self.allowed
        others = self.allowed & ~having
        places = min(floor.within, self.length)
        inside = [having[candidate] for place, candidate in self.pins.items() if place < places]
        outside = [having[candidate] for place, candidate in self.pins.items() if place >= places]
        most = min(int(having.sum()) - sum(map(int, outside)), places - inside.count(False))
        if most < floor.least:
            self._cut.append(rule)
        limit = places - min(floor.least, most)
        if min(int(others.sum()), places) > limit:
            yield Constraint(rule, others, limit, places, 0, 0, _NOBODY)

    def _having(self, name: str, value: Scalar) -> Bools:
        """Flag the candidates [n] that have a value."""
        wanted = None if value is None else canonical_text(value)
        return np.array([text is not None and text == wanted for text in self._text(name)], np.bool_)

    def _text(self, name: str) -> Texts:
        """Read every candidate's value as text, once per name."""
        if (known := self._texts.get(name)) is None:
            known = self._texts[name] = [_text_of(candidate, name) for candidate in self._candidates]
        return known


def _text_of(item: RuledCandidate | ShownLike, name: str) -> str | None:
    """Return an item's value as text, None if it has none."""
    value = value_of(item, name)
    return value if value is None or isinstance(value, str) else canonical_text(value)


def _within(pins: Mapping[int, int], length: int) -> dict[int, int]:
    """Move pins past the list's end to its last free places, in their order."""
    kept = {place: candidate for place, candidate in pins.items() if place < length}
    beyond = [pins[place] for place in sorted(pins) if place >= length]
    free = [place for place in range(length) if place not in kept]
    kept.update(zip(free[len(free) - len(beyond) :], beyond, strict=True))
    return dict(sorted(kept.items()))


def _pins_break(constraint: Constraint, pins: Mapping[int, int]) -> bool:
    """Tell whether pins and shown items alone exceed the limit in a window that holds a pin."""
    taken = [place for place, candidate in pins.items() if constraint.members[candidate]]
    back = len(constraint.shown)
    held = [place - back for place in np.flatnonzero(constraint.shown).tolist()] + taken
    for start in range(constraint.first, constraint.last + 1):
        end = start + constraint.window
        if any(start <= p < end for p in taken) and sum(start <= p < end for p in held) > constraint.limit:
            return True
    return False
