"""Keep values of a live source for a short time, and which it lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from time import monotonic
from typing import Final

from models.contract.scalars import Scalar
from service.catalogues.live_values import Column


class Unknown:
    """Stand for a value that the cache does not have."""


UNKNOWN: Final = Unknown()
MOST_VALUES: Final = 200_000
"""Most values of one process, some 30 MB of them."""

_NONE: Final[Mapping[str, Scalar]] = {}
_Columns = dict[Column, dict[str, Scalar]]


class LiveCache:
    """Hold values by column and id, none longer than `seconds`. `clock` never goes back.

    There are two tables: what is put goes to the younger one, and after half the time, or once it is half full, it
    takes the place of the older one, which is dropped. So no value needs a time of its own, and finding 1,000 values
    takes some tens of microseconds.
    """

    def __init__(self, *, seconds: float, most: int = MOST_VALUES, clock: Callable[[], float] = monotonic) -> None:
        self._half = seconds / 2
        self._most = most // 2
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._young: _Columns = {}
        self._old: _Columns = {}
        self._count = 0
        self._began = self._clock()

    def find(self, column: Column, ids: Sequence[str]) -> list[Scalar | Unknown]:
        """Return the values of these ids, `UNKNOWN` where the source must be asked."""
        self._age()
        young, old = self._young.get(column, _NONE), self._old.get(column)
        found: list[Scalar | Unknown] = list(map(young.get, ids, repeat(UNKNOWN)))
        if old is None:
            return found
        return [old.get(name, UNKNOWN) if value is UNKNOWN else value for name, value in zip(ids, found, strict=True)]

    def put(self, column: Column, values: Mapping[str, Scalar]) -> None:
        """Keep these values by id, None for a missing one."""
        self._age()
        table = self._young.setdefault(column, {})
        before = len(table)
        table.update(values)
        self._count += len(table) - before
        if self._count >= self._most:
            self._turn(self._clock())

    def _age(self) -> None:
        now = self._clock()
        while now >= self._began + self._half:
            if not self._young and not self._old:
                self._began = now
                return
            self._turn(self._began + self._half)

    def _turn(self, began: float) -> None:
        self._old, self._young = self._young, {}
        self._count, self._began = 0, began
