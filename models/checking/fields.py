"""Count the fields of a file, and say how each will be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa

from models.checking.tallies import KEPT_VALUES, RangeTally, ValueTally
from models.contract.scalars import canonical_text
from models.contract.spec import Category, FeatureSpec, Field, Hashed, Number
from models.data.field_choices import FieldChoices
from models.data.windows import ListWindow

GROUPS: Final = ("user", "context", "item")
_SAMPLE: Final = 3
_PER_VOCABULARY: Final = 4
_PER_LIST: Final = 1 << 20
"""Places of a field's numbers for each list, more than it has candidates."""

ReadAs = Literal["category", "number", "hashed", "ignored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldReport:
    """Describe one field: how it will be read, and what its values are.

    `missing` is the share of items (or lists) without a value, `unknown` the share of values outside the vocabulary.
    `low`, `high`, `mean` and `median` are of numbers; `default` replaces a missing one. `distinct` is an estimate where
    not `distinct_exact`, and None for scores and the price.
    """

    name: str
    read_as: ReadAs
    missing: float
    distinct: int | None = None
    distinct_exact: bool = True
    vocabulary: int | None = None
    buckets: int | None = None
    unknown: float | None = None
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    median: float | None = None
    default: float | None = None
    sample: tuple[str, ...] = ()


class FieldTallies:
    """Count the values of all features, scores, the price and the embeddings.

    `first` is the row of the first list.
    """

    def __init__(self, choices: FieldChoices, first: int = 0) -> None:
        self._kept = max(KEPT_VALUES, _PER_VOCABULARY * choices.max_vocabulary)
        self._first = first * _PER_LIST
        self.features: dict[str, dict[str, ValueTally]] = {group: {} for group in GROUPS}
        self.scores: dict[str, RangeTally] = {}
        self.price = RangeTally(self._first)
        self.rows = dict.fromkeys(GROUPS, 0)
        self.embedded = 0
        self.width: int | None = None

    def add(self, window: ListWindow) -> None:
        """Count the values of a window."""
        items = window.candidates
        groups: Mapping[str, tuple[int, Mapping[str, pa.Array]]] = {
            "user": (len(window), window.user),
            "context": (len(window), window.context),
            "item": (len(items), items.features),
        }
        for group, (rows, columns) in groups.items():
            self.rows[group] += rows
            for name, column in columns.items():
                self._feature(group, name).add(column)
        for name, column in items.scores.items():
            self._score(name).add(column)
        self.price.add(items.price)
        if items.embeddings is not None:
            self._add_embeddings(items.embeddings)

    def extend(self, other: FieldTallies) -> None:
        """Count the values of other lists too."""
        for group in GROUPS:
            self.rows[group] += other.rows[group]
            for name, tally in other.features[group].items():
                self._feature(group, name).extend(tally)
        for name, numbers in other.scores.items():
            self._score(name).extend(numbers)
        self.price.extend(other.price)
        self.embedded += other.embedded
        if other.width is not None:
            self.width = max(self.width or 0, other.width)

    def missing(self, group: str, present: int) -> float:
        """Compute the share of a group's rows without a value."""
        rows = self.rows[group]
        return 1 - present / rows if rows else 0.0

    @property
    def embedded_share(self) -> float:
        """Compute the share of candidates with an embedding."""
        return 1 - self.missing("item", self.embedded)

    def names(self) -> set[str]:
        """List every feature and score as ``group.name``, and the price."""
        features = {f"{group}.{name}" for group, fields in self.features.items() for name in fields}
        return features | {f"scores.{name}" for name in self.scores} | {"price"}

    def _feature(self, group: str, name: str) -> ValueTally:
        return self.features[group].setdefault(name, ValueTally(self._kept, self._first))

    def _score(self, name: str) -> RangeTally:
        return self.scores.setdefault(name, RangeTally(self._first))

    def _add_embeddings(self, column: pa.Array) -> None:
        known = column.drop_null()
        self.embedded += len(known)
        if len(known):
            widths = known.value_lengths().to_numpy(zero_copy_only=False)
            self.width = max(self.width or 0, int(np.max(widths)))


def field_reports(tallies: FieldTallies, spec: FeatureSpec | None) -> Iterator[FieldReport]:
    """Describe every field, score and the price; without a spec all are ignored."""
    for group in GROUPS:
        fitted = _by_name(getattr(spec, group)) if spec else {}
        for name, tally in sorted(tallies.features[group].items()):
            missing = tallies.missing(group, tally.present)
            yield _feature_report(f"{group}.{name}", tally, missing, fitted.get(name))
    scores = _by_name(spec.scores) if spec else {}
    for name, numbers in sorted(tallies.scores.items()):
        yield _number_report(f"scores.{name}", numbers, tallies.missing("item", numbers.present), scores.get(name))
    price = spec.price if spec else None
    yield _number_report("price", tallies.price, tallies.missing("item", tallies.price.present), price)


def _by_name(fields: tuple[Field, ...]) -> dict[str, Field]:
    return {field.name: field for field in fields}


def _feature_report(name: str, tally: ValueTally, missing: float, field: Field | None) -> FieldReport:
    shared: dict[str, Any] = {
        "name": name,
        "missing": missing,
        "distinct": tally.distinct,
        "distinct_exact": tally.exact,
        "sample": tuple(canonical_text(value) for value, _ in tally.frequent()[:_SAMPLE]),
    }
    match field:
        case Category(vocabulary=vocabulary):
            unknown = tally.share_outside(vocabulary)
            return FieldReport(read_as="category", vocabulary=len(vocabulary), unknown=unknown, **shared)
        case Hashed(buckets=buckets):
            return FieldReport(read_as="hashed", buckets=buckets, **shared)
        case Number(default=default):
            return FieldReport(read_as="number", default=default, **_range(tally.numbers), **shared)
    return FieldReport(read_as="ignored", **shared)


def _number_report(name: str, numbers: RangeTally, missing: float, field: Field | None) -> FieldReport:
    if not isinstance(field, Number):
        return FieldReport(name=name, read_as="ignored", missing=missing, **_range(numbers))
    return FieldReport(name=name, read_as="number", missing=missing, default=field.default, **_range(numbers))


def _range(numbers: RangeTally) -> dict[str, Any]:
    if not numbers.present:
        return {}
    return {"low": numbers.low, "high": numbers.high, "mean": numbers.mean, "median": numbers.median}
