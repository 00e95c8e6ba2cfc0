"""Find one kind for every field of items, over all files and a catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from models.catalogue.items import FEATURES, ItemPart, read_blocks
from models.contract.catalogue.manifest import CatalogueError, CatalogueField, FieldKind
from models.contract.spec import FeatureSpec, Number
from models.data.reading.arrow_forms import plain, texts, values
from models.data.reading.place import Place

_EXACT: Final = 1 << 53
"""Whole numbers up to here have a float64 of their own."""

_WHOLE: Final = (pa.int64(), pa.uint64())
_KINDS: Final[dict[pa.DataType, FieldKind]] = {
    pa.string(): "text",
    pa.bool_(): "flag",
    pa.int64(): "number",
    pa.uint64(): "number",
    pa.float64(): "number",
}


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """Hold a field's kind, and the type of its values as they came."""

    name: str
    kind: FieldKind
    type: pa.DataType

    def read(self, array: pa.Array, place: Place) -> pa.Array:
        """Convert values of any form to the plan's type.

        Raises `ListFileError` naming one that cannot be used.
        """
        array = plain(array)
        if kinds.is_null(array.type):
            return array.cast(self.type)
        if self.kind == "text":
            return texts(array, place)
        found = values(array, place, self.type)
        if kinds.is_floating(found.type):
            check_finite(found, place)
        return found


def plan_fields(parts: Sequence[ItemPart], spec: FeatureSpec, known: Sequence[CatalogueField] = ()) -> list[FieldPlan]:
    """Choose how each field is kept: known ones first, then new ones as they come.

    A known field keeps its kind. Whole numbers past 2^53 are texts, unless the spec has the field as a number. Raises
    `CatalogueError` naming file and field where types differ, or are no numbers where the spec has numbers.
    """
    numbers = {field.name for field in spec.item if isinstance(field, Number)}
    before = {field.name: field.kind for field in known}
    names = dict.fromkeys([*before, *(name for part in parts for name in part.fields)])
    wide = _wide(parts, [name for name in names if name not in numbers and before.get(name) != "text"])
    return [_plan(name, parts, before.get(name), must=name in numbers, wide=name in wide) for name in names]


def check_finite(array: pa.Array, place: Place) -> None:
    """Raise `ListFileError` at the first number that is NaN or infinite; nulls pass."""
    finite = pc.is_finite(array)
    if not pc.all(finite).as_py() and pc.any(pc.invert(finite)).as_py():
        at = int(pc.index(finite, False).as_py())
        raise place.error(f"holds {array[at].as_py()}; write null where a value is missing", at)


def _plan(name: str, parts: Sequence[ItemPart], known: FieldKind | None, *, must: bool, wide: bool) -> FieldPlan:
    found = _joined(name, parts, as_text=wide or known == "text")
    kind = known if found is None else _KINDS[found]
    if kind is None or (must and kind == "text"):
        raise CatalogueError(f"{_where(name, parts)}: must be numbers, as the spec has it, not text")
    if known is not None and kind != known:
        why = ", as whole numbers past 2^53 are" if wide else ""
        raise CatalogueError(f"{_where(name, parts)}: is a {kind} here{why}, but a {known} in the catalogue")
    return FieldPlan(name, kind, found or next(kept for kept, its in _KINDS.items() if its == kind))


def _joined(name: str, parts: Sequence[ItemPart], *, as_text: bool) -> pa.DataType | None:
    """Return the one type that holds a field of all files; None: none has it."""
    joined: pa.DataType | None = None
    first = ""
    for part in parts:
        kind = part.fields.get(name)
        if kind is None:
            continue
        if kind in _WHOLE:
            kind = pa.string() if as_text else pa.int64()
        if joined not in (None, kind) and {joined, kind} != {pa.int64(), pa.float64()}:
            raise CatalogueError(f"{part.name}: column {name}: is {kind} here and {joined} in {first}")
        joined, first = (kind if joined in (None, kind) else pa.float64()), first or part.name
    return joined


def _where(name: str, parts: Sequence[ItemPart]) -> str:
    return f"{next(part.name for part in parts if name in part.fields)}: column {name}"


def _wide(parts: Sequence[ItemPart], names: Sequence[str]) -> set[str]:
    """Find the fields that hold a whole number past 2^53."""
    found = set[str]()
    for part in parts:
        whole = [name for name in names if part.fields.get(name) in _WHOLE]
        if whole:
            found.update(_wide_in(part, whole))
    return found


def _wide_in(part: ItemPart, names: Sequence[str]) -> Iterator[str]:
    # A name is looked for in the struct as well; columns that are not there are not read.
    for block in read_blocks(part, [*names, *(f"{FEATURES}.{name}" for name in names)]):
        for name, array in block.fields.items():
            ends = pc.min_max(plain(array)).as_py()
            if ends["min"] is not None and max(-ends["min"], ends["max"]) > _EXACT:
                yield name
