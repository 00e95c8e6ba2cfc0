"""Choose the split of every list, in a first pass over the parts.

A unit is what must never stand on both sides: a session, else a user, else the request alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.contract.arrays import Floats, Ints
from models.datasets.csv import cells
from models.datasets.csv_log.parts import Parts, all_parts
from models.datasets.csv_log.requests import Requests, group_requests
from models.datasets.csv_log.sides import SPLITS, Shares, SideChooser
from models.datasets.csv_log.times import parse_times
from models.datasets.csv_log.values import Reading

_USED: tuple[str, ...] = ("request", "user", "session", "time", "split")


@dataclass(frozen=True, slots=True)
class Sides:
    """Hold the places in `SPLITS` of each part's lists, the rule in words, and warnings."""

    parts: Sequence[Ints]
    rule: str
    warnings: Sequence[str]

    @property
    def lists(self) -> int:
        """Count the lists."""
        return sum(map(len, self.parts))


def choose_sides(parts: Parts, reading: Reading, shares: Shares, *, seed: int) -> Sides:
    """Choose the split of every list, or read it from its column. Raises `TableError`."""
    if reading.column("split"):
        return _given_sides(parts, reading)
    chooser = SideChooser()
    for requests in _requests(parts, reading):
        chooser.add(_units(requests, reading), _times(requests, reading))
    unit = next((role for role in ("session", "user") if reading.column(role)), "request")
    column = reading.columns.roles[unit]
    if reading.column("time"):
        rule = (
            f"the last {shares.test:.0%} of lists by {reading.column('time')} are test, the {shares.valid:.0%} before "
            f"valid; all lists of a {unit} ({column}) are on one side, by its last list"
        )
    else:
        rule = f"by hash of the {unit} ({column}): {shares.test:.0%} test, {shares.valid:.0%} valid"
    return Sides(chooser.choose(shares, seed=seed), rule, [])


def _given_sides(parts: Parts, reading: Reading) -> Sides:
    sides, units = [], []
    for requests in _requests(parts, reading):
        sides.append(_written_sides(requests, reading.columns.roles["split"]))
        units.append(_units(requests, reading))
    warnings = []
    role = next((role for role in ("session", "user") if reading.column(role)), None)
    torn = _units_on_two_sides(units, sides) if role else 0
    if torn:
        warnings.append(f"{torn} {role}s have lists in more than one split, so the measures will look too good")
    return Sides(sides, f"column {reading.column('split')}", warnings)


def _requests(parts: Parts, reading: Reading) -> Iterator[Requests]:
    columns = dict.fromkeys(column for role in _USED if (column := reading.column(role)))
    request = reading.columns.roles["request"]
    for rows in all_parts(parts, list(columns)):
        yield group_requests(rows, request, whole=request in reading.whole)


def _units(requests: Requests, reading: Reading) -> pa.Array:
    """Name the unit of each list.

    A list without user or session is a unit of its own.
    """
    named = []
    for role in ("user", "session"):
        column = reading.column(role)
        if column is not None:
            text = requests.rows.text[column]
            named.append(
                requests.agreed(column, cells.without_zero_fraction(text) if column in reading.whole else text)
            )
    if not named:
        return requests.ids
    own = pc.binary_join_element_wise("request", requests.ids, "\0")
    unit = pc.binary_join_element_wise("unit", *named, "\0")
    return pc.if_else(pc.equal(named[-1], ""), own, unit)


def _times(requests: Requests, reading: Reading) -> Floats | None:
    """Return the first time of each list."""
    column = reading.column("time")
    if column is None:
        return None
    times = parse_times(requests.rows, column, numbers=reading.decimal if reading.numeric_time else None)
    return np.minimum.reduceat(times, requests.starts[:-1])


def _written_sides(requests: Requests, column: str) -> Ints:
    text = pc.utf8_lower(requests.rows.text[column])
    places = pc.index_in(text, value_set=pa.array(SPLITS))
    if places.null_count:
        place = int(places.is_null().to_numpy(zero_copy_only=False).argmax())
        value = requests.rows.text[column][place].as_py()
        raise requests.rows.error(place, column, f"must be one of {', '.join(SPLITS)}, not {value[:40]!r}")
    sides: Ints = requests.agreed(column, places).to_numpy().astype(np.int64)
    return sides


def _units_on_two_sides(units: Sequence[pa.Array], sides: Sequence[Ints]) -> int:
    encoded = pa.chunked_array(units).combine_chunks().dictionary_encode()
    unit, side = encoded.indices.to_numpy(), np.concatenate(sides)
    seen = np.unique(unit.astype(np.int64) * len(SPLITS) + side) // len(SPLITS)
    return int((np.bincount(seen) > 1).sum())
