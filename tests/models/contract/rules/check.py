"""Check a finished list against the rules' definition, in plain code that shares nothing with the implementation."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from models.contract.rules.definition import Cap, Floor, Rules, ShownLike
from models.contract.scalars import Scalar


def problems(
    candidates: Sequence[ShownLike],
    rules: Rules,
    picked: Sequence[int],
    relaxed: Collection[str],
    *,
    top_n: int,
    shown: Sequence[str] = (),
    shown_items: Sequence[ShownLike] = (),
) -> list[str]:
    """Say all that is wrong with a list of candidates' indices; nothing if it keeps every rule not `relaxed`.

    Pins that are no candidates, blocked, shown or beyond `top_n` are none; shown items alone break no cap.
    """
    allowed = [i for i, c in enumerate(candidates) if c.id not in rules.blocked and c.id not in shown]
    found = []
    if len(picked) != min(top_n, len(allowed)):
        found.append(f"{len(picked)} places, not {min(top_n, len(allowed))}")
    if len(set(picked)) != len(picked):
        found.append("a candidate stands twice")
    found += [f"{candidates[i].id} is blocked or shown" for i in picked if i not in allowed]
    pins = [(pin.position, pin.id) for pin in rules.pinned if pin.position <= top_n]
    found += _pin_problems(candidates, pins, picked, allowed)
    broken = broken_rules(candidates, rules, picked, shown=shown, shown_items=shown_items)
    return found + [f"{rule} is broken" for rule in broken if rule not in relaxed]


def broken_rules(
    candidates: Sequence[ShownLike],
    rules: Rules,
    picked: Sequence[int],
    *,
    shown: Sequence[str] = (),
    shown_items: Sequence[ShownLike] = (),
) -> list[str]:
    """Name the caps and floors that a list breaks."""
    known: dict[str, ShownLike] = {c.id: c for c in candidates}
    known.update({item.id: item for item in shown_items})
    pages = [known.get(i) for i in shown]
    listed = [candidates[i] for i in picked]
    found = [f"caps[{i}]" for i, cap in enumerate(rules.caps) if _breaks_cap(cap, pages, listed)]
    return found + [f"floors[{i}]" for i, floor in enumerate(rules.floors) if _breaks_floor(floor, listed)]


def _pin_problems(
    candidates: Sequence[ShownLike],
    wanted: Sequence[tuple[int, str]],
    picked: Sequence[int],
    allowed: Sequence[int],
) -> list[str]:
    """Compare the places of pins; those past the end stand last, in the order of their positions."""
    ids = {candidates[i].id for i in allowed}
    pins = sorted((position, name) for position, name in wanted if name in ids)
    expected = {position - 1: name for position, name in pins if position <= len(picked)}
    place = len(picked) - 1
    for position, name in reversed(pins):
        if position > len(picked):
            while place in expected:
                place -= 1
            expected[place] = name
    return [
        f"{name} is pinned to place {place}, where {candidates[picked[place]].id} stands"
        for place, name in expected.items()
        if candidates[picked[place]].id != name
    ]


def _breaks_cap(cap: Cap, pages: Sequence[ShownLike | None], listed: Sequence[ShownLike]) -> bool:
    """Read every window anew; windows without an item of this list do not count."""
    values = [_value(item, cap.by) for item in listed]
    if cap.window is None:
        return any(values.count(value) > cap.limit for value in set(values) - {None})
    before = [None if item is None else _value(item, cap.by) for item in pages]
    line = before + values
    for end in range(len(before) + 1, len(line) + 1):
        begin = max(0, end - cap.window)
        inside, own = line[begin:end], line[max(begin, len(before)) : end]
        if any(inside.count(value) > cap.limit for value in set(own) - {None}):
            return True
    return False


def _breaks_floor(floor: Floor, listed: Sequence[ShownLike]) -> bool:
    """Count the value among the first places."""
    values = [_value(item, floor.by) for item in listed[: floor.within]]
    return values.count(_text(floor.value)) < floor.least


def _value(item: ShownLike, name: str) -> str | None:
    """Read a tag, else an item feature."""
    value = item.tags.get(name)
    return _text(item.features.get(name) if value is None else value)


def _text(value: Scalar) -> str | None:
    """Write a value so that 5 and 5.0 are alike, and true and the text of it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value == value // 1 else str(value)
