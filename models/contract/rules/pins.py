"""Give the pins of a request their places in the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.contract.arrays import Bools
from models.contract.rules.definition import Pin


def place_pins(
    pins: Sequence[Pin], candidates: Mapping[str, int], allowed: Bools, top_n: int, length: int
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return the pins by place, from 0, and the ids of the others.

    The others' ids are no candidates or may not be returned, their position lies past `top_n`, or an earlier pin has
    the same candidate or position. Pins past a list that is shorter than `top_n` take its last free places, in the
    order of their positions. `candidates` are indices by id.
    """
    wanted: dict[int, int] = {}
    ignored: list[str] = []
    taken: set[int] = set()
    for pin in pins:
        candidate, place = candidates.get(pin.id, -1), pin.position - 1
        if candidate < 0 or not allowed[candidate] or candidate in taken or place >= top_n or place in wanted:
            ignored.append(pin.id)
        else:
            wanted[place] = candidate
            taken.add(candidate)
    return _moved_inside(wanted, length), tuple(ignored)


def pins_break(pins: Sequence[int], shown: Sequence[int], limit: int, window: int) -> bool:
    """Tell whether the places of a group's pins and shown items alone exceed a cap.

    `pins` and `shown` are places in order, the shown ones negative. Shown items alone break nothing.
    """
    held = [*shown, *pins]
    ends = zip(held, held[limit:], strict=False)
    return any(end >= 0 and end - begin < window for begin, end in ends)


def _moved_inside(wanted: Mapping[int, int], length: int) -> dict[int, int]:
    """Move pins past the list's end to its last free places."""
    kept = {place: candidate for place, candidate in wanted.items() if place < length}
    beyond = [wanted[place] for place in sorted(wanted) if place >= length]
    free = [place for place in range(length) if place not in kept]
    kept.update(zip(free[len(free) - len(beyond) :], beyond, strict=True))
    return dict(sorted(kept.items()))
