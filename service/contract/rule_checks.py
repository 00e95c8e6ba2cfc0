"""Find contradictions in the rules of a request: two fields that cannot both be kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.contract.candidates import CandidateTable
from models.contract.rules.definition import MOST_RULE_FIELDS
from models.contract.scalars import FeatureError
from service.contract.problems import invalid
from service.contract.rule_schemas import ListRules, PinRule, ShownItem
from service.contract.schemas import RerankRequest


@dataclass(frozen=True, slots=True)
class Inherited:
    """Keys of `rules` that a request has from its scene, and that scene's name."""

    scene: str = ""
    keys: frozenset[str] = frozenset()

    def path(self, key: str, place: int) -> str:
        """Name one rule for people, with the scene that it comes from."""
        return f"rules.{key}[{place}]" + (f" of the scene {self.scene!r}" if key in self.keys else "")


NOTHING_INHERITED: Final = Inherited()

LONGEST_NAME: Final = 64
"""Most characters of a client's name that an answer repeats."""


def check_rules(request: RerankRequest, candidates: CandidateTable, inherited: Inherited) -> None:
    """Raise `Problem` (422) naming the first field of rules or shown items that contradicts another.

    What the pins of a scene contradict is not looked at: such a pin is ignored.
    """
    rules, shown = request.rules, request.shown or []
    if rules is not None:
        check_fields(rules)
    if rules is not None and rules.pinned and "pinned" not in inherited.keys:
        check_pins(rules, inherited)
        _check_pinned_candidates(rules.pinned, candidates.ids, shown)
    if request.shown_items:
        _check_shown_items(request.shown_items, candidates, shown)


def rule_fields(rules: ListRules) -> Iterator[tuple[str, str]]:
    """Yield path and name of every field that a rule asks for."""
    for i, cap in enumerate(rules.caps or ()):
        yield f"rules.caps[{i}].by", cap.by
    for i, floor in enumerate(rules.floors or ()):
        yield f"rules.floors[{i}].by", floor.by
    for i, boost in enumerate(rules.boosts or ()):
        for name in boost.where:
            yield f"rules.boosts[{i}].where.{name[:LONGEST_NAME]}", name


def check_fields(rules: ListRules) -> None:
    """Raise `Problem` (422) if rules ask for more fields than they may."""
    names = set[str]()
    for path, name in rule_fields(rules):
        names.add(name)
        if len(names) > MOST_RULE_FIELDS:
            raise invalid(path, f"is one field too many: rules may ask for {MOST_RULE_FIELDS} different ones")


def check_pins(rules: ListRules, inherited: Inherited = NOTHING_INHERITED) -> None:
    """Raise `Problem` (422) for a pin that contradicts another, or that is also blocked."""
    pins, blocked = rules.pinned or [], rules.blocked or []
    ids, positions, banned = dict[str, int](), dict[int, int](), set(blocked)
    for i, pin in enumerate(pins):
        if (other := positions.setdefault(pin.position, i)) != i:
            raise invalid(
                f"rules.pinned[{i}].position", f"{pin.position} is also the position of rules.pinned[{other}]"
            )
        if (other := ids.setdefault(pin.id, i)) != i:
            raise invalid(f"rules.pinned[{i}].id", f"{pin.id!r} is also the id of rules.pinned[{other}]")
        if pin.id in banned:
            also = inherited.path("blocked", blocked.index(pin.id))
            raise invalid(f"rules.pinned[{i}].id", f"{pin.id!r} is also {also}")


def check_positions(pins: Sequence[PinRule], most: int, name: str) -> None:
    """Raise `Problem` (422) for a pin behind place `most`; `name` says what sets that."""
    for i, pin in enumerate(pins):
        if pin.position > most:
            raise invalid(f"rules.pinned[{i}].position", f"{pin.position} is beyond {name}, which is {most}")


def _check_pinned_candidates(pins: Sequence[PinRule], ids: Sequence[str], shown: Sequence[str]) -> None:
    """Raise `Problem` (422) for a pin that has been shown, or is no candidate."""
    known, seen = set(ids), set(shown)
    for i, pin in enumerate(pins):
        if pin.id in seen:
            raise invalid(f"rules.pinned[{i}].id", f"{pin.id!r} is also shown[{shown.index(pin.id)}]")
        if pin.id not in known:
            raise invalid(f"rules.pinned[{i}].id", f"{pin.id!r} is not the id of any of the candidates")


def _check_shown_items(items: Sequence[ShownItem], candidates: CandidateTable, shown: Sequence[str]) -> None:
    """Raise `Problem` (422) for one not shown, one that comes twice, or another width."""
    first, seen = dict[str, int](), set(shown)
    for i, item in enumerate(items):
        if item.id not in seen:
            raise invalid(f"shown_items[{i}].id", f"{item.id!r} is not in shown")
        if (other := first.setdefault(item.id, i)) != i:
            raise invalid(f"shown_items[{i}].id", f"{item.id!r} is also the id of shown_items[{other}]")
    _check_widths(items, candidates)


def _check_widths(items: Sequence[ShownItem], candidates: CandidateTable) -> None:
    """Raise `Problem` (422) unless all embeddings have one width, that of the first candidate's.

    A table compares those of other candidates when it is asked for them.
    """
    if all(item.embedding is None for item in items):
        return
    found = first_width(candidates)
    first, width = ("", 0) if found is None else (candidates.name(found[0]), found[1])
    for i, item in enumerate(items):
        if item.embedding is None:
            continue
        count = len(item.embedding)
        first, width = (first, width) if first else (f"shown_items[{i}]", count)
        if count != width:
            raise invalid(f"shown_items[{i}].embedding", f"has {count} numbers, but that of {first} has {width}")


def first_width(candidates: CandidateTable) -> tuple[int, int] | None:
    """Return place and embedding width of the first candidate that has an embedding.

    None: no candidate has one.
    Raises `Problem` (422) if that embedding is none.
    """
    places = np.arange(len(candidates))
    if candidates.has_embeddings(places):
        for i in range(len(places)):
            if candidates.has_embeddings(places[i : i + 1]):
                try:
                    return i, candidates.embeddings(places[i : i + 1]).shape[1]
                except FeatureError as error:
                    raise invalid(error.path, error.problem) from None
    return None
