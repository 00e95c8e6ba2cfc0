"""Count the values that a model does not know, and find fields that nothing uses.

The encoded arrays tell where to look: what was encoded just as a missing value is encoded is missing, unknown, or by
chance the same. Only there the values themselves are read, so a request without gaps costs a few array operations.
Letters: n candidates, F fields, C columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from models.contract.arrays import Arrays, Floats, Ints
from models.contract.candidates import GROUPS, CandidateTable
from models.contract.features import Encoder
from models.contract.formulas import WEIGHT_NAMES, compile_formula
from models.contract.manifest import Manifest
from models.contract.scalars import Scalar, canonical_text
from models.contract.spec import Category, FeatureSpec, Field, Number

FieldState = Literal["known", "missing", "unknown"]
FIELD_STATES: Final[tuple[FieldState, ...]] = get_args(FieldState)
"""missing: absent or null. unknown: not in the field's vocabulary. known: all others."""

NOT_SCORES: Final = frozenset((*WEIGHT_NAMES, "price"))
"""Names in formulas that mean something else than a score."""

_GROUPS: Final = ("user", "context", "item", "scores")
_NO_NAMES: Final = frozenset[str]()
_NEARLY: Final = 1e-5  # More than rounding makes of one number; what is found so is read again.


@dataclass(frozen=True, slots=True)
class FieldCounts:
    """Values of every field in one request, int64 [F, 3], by `FIELD_STATES`."""

    fields: tuple[str, ...]
    counts: Ints


class KnownField:
    """One field of a model's spec: `path` is its group and name, such as ``item.brand``.

    `vocabulary` holds the values that the model knows, and is empty if the field has none; `alike` holds them by their
    text without case and outer blanks.
    """

    def __init__(self, group: str, field: Field, place: int) -> None:
        self.group = group
        self.name = field.name
        self.path = group if group == "price" else f"{group}.{field.name}"
        self.field = field
        self.place = place
        values = field.vocabulary if isinstance(field, Category) else ()
        self.vocabulary = frozenset(values)
        self.alike: Mapping[str, str] = {plain_text(value): value for value in reversed(values)}

    def knows(self, value: Scalar) -> bool:
        """Tell whether a value that is not missing is known."""
        if value is None or not isinstance(self.field, Category):
            return True
        return (value if isinstance(value, str) else canonical_text(value)) in self.vocabulary


def plain_text(text: str) -> str:
    """Return a text without case and outer blanks, to find what was meant."""
    return text.strip().casefold()


@dataclass(frozen=True, slots=True)
class Gap:
    """One field, some of whose values are missing or unknown.

    There are n `values`; of a field of the user or the context 1.
    """

    field: KnownField
    values: Sequence[Scalar]
    missing: int
    unknown: int


@dataclass(frozen=True, slots=True)
class FieldUse:
    """Use that a model could make of one request.

    `surplus` names by group what was sent and nothing uses.
    """

    counts: FieldCounts
    gaps: Sequence[Gap]
    surplus: Mapping[str, frozenset[str]]


class FieldReader:
    """Compare requests with the fields of one model."""

    def __init__(self, manifest: Manifest, encoder: Encoder) -> None:
        self.fields = _known_fields(encoder.spec)
        self.paths = tuple(field.path for field in self.fields)
        self.names = {group: frozenset(f.name for f in self.fields if f.group == group) for group in _GROUPS}
        self._used = {**self.names, "scores": self.names["scores"] | (_formula_names(manifest) - NOT_SCORES)}
        own = len(encoder.spec.user) + len(encoder.spec.context)
        self._all_known = np.zeros((2, len(self.fields), len(FIELD_STATES)), np.int64)
        self._all_known[0, :own, 0] = self._all_known[1, own:, 0] = 1
        self._user = [(field, _column(self.fields, field)) for field in self.fields[:own]]
        self._user_unknown: list[int] = encoder.encode_user({}, {})["user_ids"].tolist()
        self._columns = _order_of_columns(self.fields[own:])
        self._missing = _item_columns(encoder.encode_items([_Nothing()]))
        self._nearly = _NEARLY * np.maximum(np.abs(self._missing), 1.0)

    def read(
        self,
        user: Mapping[str, Scalar],
        context: Mapping[str, Scalar],
        candidates: CandidateTable,
        places: Ints,
        row: Arrays,
        formulas: Sequence[str] = (),
    ) -> FieldUse:
        """Count the values of the encoded candidates, and find what nothing uses.

        Those candidates stand at `places` [n]. `row` holds the arrays that they were encoded to, in their order, with
        or without empty slots. `formulas` are those of the request.
        """
        gaps = [*self._user_gaps(user, context, row), *self._item_gaps(candidates, places, row)]
        once, each = self._all_known
        counts = once + each * len(places)
        for gap in gaps:
            known = len(gap.values) - gap.missing - gap.unknown
            counts[gap.field.place] = known, gap.missing, gap.unknown
        whole = {"user": user, "context": context}
        surplus = self._surplus(whole, candidates, places, gaps, formulas)
        return FieldUse(FieldCounts(self.paths, counts), gaps, surplus)

    def _user_gaps(self, user: Mapping[str, Scalar], context: Mapping[str, Scalar], row: Arrays) -> list[Gap]:
        gaps = []
        ids = row["user_ids"].tolist()
        for field, column in self._user:
            value = (user if field.group == "user" else context).get(field.name)
            if value is None:
                gaps.append(Gap(field, (value,), 1, 0))
            elif column is not None and ids[column] == self._user_unknown[column]:
                gaps.append(Gap(field, (value,), 0, 1))
        return gaps

    def _item_gaps(self, candidates: CandidateTable, places: Ints, row: Arrays) -> list[Gap]:
        columns = _item_columns(row)
        if len(columns) > len(places):
            columns = columns[row["valid"]]
        columns -= self._missing
        alike = np.abs(columns, out=columns) <= self._nearly
        gaps: list[Gap] = []
        if not np.count_nonzero(alike):
            return gaps
        for column, found in enumerate(np.count_nonzero(alike, axis=0).tolist()):
            if not found:
                continue
            field = self._columns[column]
            values = _values(candidates, places, field)
            missing = values.count(None)
            unknown = found - missing if isinstance(field.field, Category) else 0
            if missing or unknown:
                gaps.append(Gap(field, values, missing, unknown))
        return gaps

    def _surplus(
        self,
        whole: Mapping[str, Mapping[str, Scalar]],
        candidates: CandidateTable,
        places: Ints,
        gaps: Sequence[Gap],
        formulas: Sequence[str],
    ) -> dict[str, frozenset[str]]:
        """Name what was sent, other than null, and nothing uses."""
        missing: dict[str, int] = {}
        for gap in gaps:
            missing[gap.field.group] = missing.get(gap.field.group, 0) + gap.missing
        found = {group: _others(table, self._used[group]) for group, table in whole.items()}
        for group in GROUPS:
            values = len(self.names[group]) * len(places) - missing.get(group, 0)
            found[group] = candidates.others(group, places, self._used[group], values)
        if found["scores"]:
            found["scores"] = found["scores"].difference(*(compile_formula(text).names for text in formulas))
        return {group: names for group, names in found.items() if names}


def _others(table: Mapping[str, Scalar], known: frozenset[str]) -> frozenset[str]:
    """Name what is in a table, other than null, and not known."""
    others = table.keys() - known
    return frozenset(name for name in others if table[name] is not None) if others else _NO_NAMES


class _Nothing:
    """A candidate that has nothing."""

    id = ""
    scores: Mapping[str, float] = {}
    price: float | None = None
    features: Mapping[str, Scalar] = {}
    embedding: Sequence[float] | None = None


def _known_fields(spec: FeatureSpec) -> tuple[KnownField, ...]:
    grouped: list[tuple[str, Field]] = [(group, f) for group in _GROUPS for f in getattr(spec, group)]
    grouped += [] if spec.price is None else [("price", spec.price)]
    return tuple(KnownField(group, field, place) for place, (group, field) in enumerate(grouped))


def _order_of_columns(fields: Sequence[KnownField]) -> list[KnownField]:
    """Sort the fields of items as the columns of `item_ids`, `item_numbers` and `item_scores`."""

    def rank(known: KnownField) -> int:
        if known.group == "item":
            return int(isinstance(known.field, Number))
        return 2 if known.group == "price" else 3

    return sorted(fields, key=rank)


def _formula_names(manifest: Manifest) -> frozenset[str]:
    texts = [*(queue.score for queue in manifest.queues), manifest.fallback]
    return frozenset[str]().union(*(compile_formula(text).names for text in texts))


def _column(fields: Sequence[KnownField], field: KnownField) -> int | None:
    """Return the column of `user_ids` whose first row stands for unknown values."""
    if not isinstance(field.field, Category):
        return None
    return sum(not isinstance(f.field, Number) for f in fields[: field.place])


def _item_columns(arrays: Arrays) -> Floats:
    """Put the columns of all fields of items side by side, float64 [n, C]."""
    parts = (arrays["item_ids"], arrays["item_numbers"], arrays["item_scores"])
    return np.concatenate(parts, axis=1, dtype=np.float64)


def _values(candidates: CandidateTable, places: Ints, field: KnownField) -> Sequence[Scalar]:
    """Read one field of some candidates, None where it is missing."""
    if field.group == "item":
        return candidates.values(field.name, places)
    numbers = candidates.prices_at(places) if field.group == "price" else candidates.score_at(field.name, places)
    return [None if number != number else number for number in numbers.tolist()]
