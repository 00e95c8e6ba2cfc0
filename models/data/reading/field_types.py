"""Find one type for every field of a source, over all its part files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from models.data.reading.arrow_forms import is_map, value_type
from models.data.reading.place import Place
from models.data.records import ListFileError

GROUPS: Final = ("user", "context", "candidates.features")
_ANY: Final = "*"
"""Stands for all keys of a map, whose values have one type."""


class FieldTypes:
    """Hold the type of every field, named as in ``user.age``.

    Whole numbers and others join to float64. Raises `ListFileError` where a field has types that do not join.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[pa.DataType, str]] = {}

    def add(self, schema: pa.Schema, source: str) -> None:
        """Add the fields of one part file."""
        for group in GROUPS:
            for name, kind in _fields(schema, group, source):
                for known in self._meant(group, name):
                    self._join(known, kind, source)
                self._join(f"{group}.{name}", kind, source)

    def wanted(self, column: str) -> pa.DataType | None:
        """Return the type of a field; None where any is right."""
        group = column.rpartition(".")[0]
        named = next((g for g in GROUPS if column.startswith(f"{g}.")), group)
        found = self._found.get(column, self._found.get(f"{named}.{_ANY}"))
        return None if found is None else found[0]

    def _meant(self, group: str, name: str) -> list[str]:
        """Name the fields known so far that a field of this name may be."""
        if name == _ANY:
            return [known for known in self._found if known.startswith(f"{group}.")]
        return [f"{group}.{_ANY}"] if f"{group}.{_ANY}" in self._found else []

    def _join(self, column: str, kind: pa.DataType, source: str) -> None:
        known, where = self._found.get(column, (kind, source))
        if known != kind and {known, kind} != {pa.int64(), pa.float64()}:
            raise ListFileError(f"{source}: column {column}: is {kind} here and {known} in {where}")
        self._found[column] = (known if known == kind else pa.float64(), where)


def _fields(schema: pa.Schema, group: str, source: str) -> Iterator[tuple[str, pa.DataType]]:
    parent = _group_type(schema, group)
    place = Place(source, group, np.zeros(0, np.int64))
    if parent is None or kinds.is_null(parent):
        return
    if is_map(parent):
        found: Mapping[str, pa.DataType] = {_ANY: _item_type(parent)}
    elif kinds.is_struct(parent):
        found = {field.name: field.type for field in parent}
    else:
        return  # The window that is read names the problem.
    for name, kind in found.items():
        known = value_type(kind, place.member(name))
        if not kinds.is_null(known):
            yield name, known


def _group_type(schema: pa.Schema, group: str) -> pa.DataType | None:
    top, _, inner = group.partition(".")
    at = schema.get_field_index(top)
    if at < 0:
        return None
    kind = schema.field(at).type
    if not inner:
        return kind
    item = getattr(kind, "value_type", pa.null())
    at = item.get_field_index(inner) if kinds.is_struct(item) else -1
    return item.field(at).type if at >= 0 else None


def _item_type(kind: pa.DataType) -> pa.DataType:
    return kind.item_type if kinds.is_map(kind) else kind.value_type.field("value").type
