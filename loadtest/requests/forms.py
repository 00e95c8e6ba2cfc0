"""Put the candidates of a request into one of the forms that a service takes.

Objects are what everything else here makes. Columns say the same. With a catalogue they are columns of ids and scores
only, since the catalogue has the rest.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import numpy as np

Form = Literal["objects", "columns", "catalogue"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)

Numbers = Literal["base64", "arrays"]
"""How columns hold numbers: as base64 of little-endian float32, or as JSON arrays."""

NUMBERS: Final[tuple[Numbers, ...]] = get_args(Numbers)

Object = Mapping[str, Any]
Columns = dict[str, Any]


def parse_form(text: str) -> Form:
    """Return the form of that name. Raises `ValueError`."""
    if text not in FORMS:
        raise ValueError(f"--form: {text!r} is none of {', '.join(FORMS)}")
    return text


def parse_numbers(text: str) -> Numbers:
    """Return the form of numbers of that name. Raises `ValueError`."""
    if text not in NUMBERS:
        raise ValueError(f"--numbers: {text!r} is none of {', '.join(NUMBERS)}")
    return text


def in_form(candidates: Sequence[Object], form: Form, numbers: Numbers) -> Sequence[Object] | Columns:
    """Return candidates that came as objects in another form; objects are returned as they are."""
    if form == "objects":
        return candidates
    columns: Columns = {
        "id": [candidate["id"] for candidate in candidates],
        "scores": _group(candidates, "scores", numbers),
    }
    if form == "columns":
        columns |= _of_items(candidates, numbers)
    return columns


def _of_items(candidates: Sequence[Object], numbers: Numbers) -> Columns:
    """Return the columns of what candidates say of their items."""
    columns: Columns = {}
    for name in ("price", "embedding"):
        values = [candidate.get(name) for candidate in candidates]
        if any(value is not None for value in values):
            columns[name] = _column(values, numbers)
    for name in ("features", "tags"):
        if group := _group(candidates, name, numbers if name == "features" else "arrays"):
            columns[name] = group
    return columns


def _group(candidates: Sequence[Object], group: str, numbers: Numbers) -> dict[str, Any]:
    """Return the columns of a group of named values, as their names first come."""
    tables: list[Object] = [candidate.get(group) or {} for candidate in candidates]
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: _column([table.get(name) for table in tables], numbers) for name in names}


def _column(values: Sequence[Any], numbers: Numbers) -> list[Any] | str:
    """Return a column as it is asked for.

    It is base64 only if every value is a number, or a row of as many numbers as the others.
    """
    rows = values if isinstance(values[0], list) else [[value] for value in values]
    whole = all(isinstance(row, list) and len(row) == len(rows[0]) and _are_numbers(row) for row in rows)
    if numbers == "arrays" or not whole:
        return list(values)
    return base64.b64encode(np.asarray(rows, "<f4").tobytes()).decode("ascii")


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, float | int) and not isinstance(value, bool) for value in values)
