"""Fit a `FeatureSpec` to lists in one pass: fields, vocabularies and standardisation.

It reads exposed items only: a category that no exposed item has would get an embedding that is never trained. Labels
are never read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from models.contract.scalars import Scalar, canonical_text
from models.contract.spec import FeatureSpec, Field, Number
from models.data.field_choices import FieldChoices, FieldKind
from models.data.fitting.field_values import FieldValues
from models.data.records import ListRecord
from models.data.windows import ListWindow

MOST_HELD: Final = 1 << 25
"""Numbers that are held, of all fields together (256 MiB); beyond, `NumberValues` folds them."""

_GROUPS: Final = ("user", "context", "item", "scores", "price")
_Columns = Mapping[str, pa.Array]


class SpecFitter:
    """Fit a spec to lists that come window by window.

    The same lists always give the same fingerprint.

    A field with text or only booleans is categorical: up to `max_vocabulary` values make a vocabulary of those seen at
    least `min_count` times (the rest share the unknown bucket, which is how that bucket gets trained); more are hashed
    into a power of two of buckets, no fewer than there are values unless `hash_buckets` caps it. Every other field is a
    number: ids that are written as numbers must come as text, or be chosen as a category or to be hashed. Scores in
    0..1 become logits; the price and non-negative numbers with a long tail become logarithms; missing numbers take the
    median.

    `shown` counts the exposed items. `choices` overrule what the values suggest. A field chosen as a category keeps the
    `max_vocabulary` most frequent of its values. Numbers in text are not parsed: a request with such text would be
    refused, too.

    Memory is bounded. Up to `MOST_HELD` numbers all figures are exact; beyond, mean and deviation are so but for
    rounding, and medians are those of up to a million values drawn by their place. Only a fitter that does not fold
    holds all numbers: `extend` adds them to another's.
    """

    def __init__(self, choices: FieldChoices | None = None, *, folds: bool = True) -> None:
        self._choices = choices or FieldChoices()
        self._groups: dict[str, dict[str, FieldValues]] = {group: {} for group in _GROUPS}
        self._ignored = set[tuple[str, str]]()
        self.shown = 0
        self._lists = 0
        self._may_fold, self._folds = folds, False

    def add(self, window: ListWindow) -> None:
        """Read the lists of a window.

        Raises `ValueError` naming a field that cannot be read as chosen.
        """
        self._lists += len(window)
        items = window.without_embeddings.shown
        self.shown += len(items)
        self._add_columns("user", window.user)
        self._add_columns("context", window.context)
        self._add_columns("item", items.features)
        self._add_columns("scores", items.scores)
        self._add_columns("price", {"price": items.price})
        self._bound()

    def extend(self, other: SpecFitter) -> None:
        """Add the lists of another, which must not fold, as those that follow.

        Raises `ValueError` as `add` does.
        """
        self._lists += other._lists
        self.shown += other.shown
        self._ignored |= other._ignored
        for group, fields in other._groups.items():
            for name, values in fields.items():
                self._values(group, name).extend(values)
        self._bound()

    def add_records(self, records: Iterable[ListRecord]) -> None:
        """Read records, which are held until all are read. Raises `ValueError` as `add` does."""
        groups: dict[str, defaultdict[str, list[Scalar]]] = {group: defaultdict(list) for group in _GROUPS}
        for record in records:
            self._lists += 1
            self.shown += len(record.exposed)
            _collect(groups, record)
        for group, columns in groups.items():
            self._add_columns(group, {name: _column(values) for name, values in columns.items()})

    def fit_to_shown(self, data: str | Path) -> FeatureSpec:
        """Return the spec of lists to learn from, which came from the file `data`.

        Raises `ValueError` naming the file if none of them shows an item, and as `fit` does.
        """
        if not self.shown:
            raise ValueError(f"{data}: the lists to learn from show no item: `exposed` is empty in all of them")
        return self.fit()

    def fit(self) -> FeatureSpec:
        """Return the spec of all that was added.

        Raises `ValueError` if nothing was, or naming a choice that names no field or does not fit its field.
        """
        if not self._lists:
            raise ValueError("there are no lists to fit a feature spec to")
        self._check_choices()
        return FeatureSpec(
            user=self._fields("user"),
            context=self._fields("context"),
            item=self._fields("item"),
            scores=tuple(values.score(name) for name, values in self._found("scores")),
            price=next((_price(values) for _, values in self._found("price")), None),
        )

    def _fields(self, group: str) -> tuple[Field, ...]:
        return tuple(values.field(name) for name, values in self._found(group))

    def _found(self, group: str) -> list[tuple[str, FieldValues]]:
        return [(name, values) for name, values in sorted(self._groups[group].items()) if not values.empty]

    def _add_columns(self, group: str, columns: _Columns) -> None:
        for name, column in columns.items():
            if self._kind(group, name) == "ignore":
                self._ignored.add((group, name))
                continue
            self._values(group, name).add(column)

    def _values(self, group: str, name: str) -> FieldValues:
        """Find where the values of a field are gathered."""
        own = self._groups[group]
        if name not in own:
            path = name if group == "price" else f"{group}.{name}"
            own[name] = FieldValues(path, self._kind(group, name), self._choices)
        return own[name]

    def _kind(self, group: str, name: str) -> FieldKind | None:
        kind = self._choices.kind(group, name)
        if group == "price":  # an item's feature may have that name too
            return "ignore" if kind == "ignore" else "number"
        return kind or ("number" if group == "scores" else None)

    def _bound(self) -> None:
        """Fold numbers once they are too many to hold."""
        if not self._may_fold:
            return
        every = [values.numbers for group in self._groups.values() for values in group.values()]
        self._folds = self._folds or sum(numbers.held for numbers in every) > MOST_HELD
        for numbers in every:
            if self._folds and not numbers.folded:
                numbers.fold()

    def _check_choices(self) -> None:
        """Raise `ValueError` naming a choice that names no field."""
        fields = {(group, name) for group, own in self._groups.items() for name in own} | self._ignored
        named = {f"{group}.{name}" for group, name in fields} | {name for _, name in fields}
        for choice in self._choices.kinds:
            if choice not in named:
                known = ", ".join(sorted(f"{group}.{name}" for group, name in fields if group != "price"))
                raise ValueError(f"field {choice}: there is none of that name; the lists have {known or 'none at all'}")


def _price(values: FieldValues) -> Number:
    return values.numbers.standardised("price", "log1p")


def _collect(groups: Mapping[str, defaultdict[str, list[Scalar]]], record: ListRecord) -> None:
    _gather(groups["user"], record.user)
    _gather(groups["context"], record.context)
    for candidate in (record.candidates[i] for i in record.exposed):
        _gather(groups["item"], candidate.features)
        _gather(groups["scores"], candidate.scores)
        _gather(groups["price"], {"price": candidate.price})


def _gather(columns: defaultdict[str, list[Scalar]], row: Mapping[str, Scalar]) -> None:
    for name, value in row.items():
        columns[name].append(value)


def _column(values: Sequence[Scalar]) -> pa.Array:
    """Make one column of values of any kinds: text if any is text."""
    known = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in known):
        return pa.array(map(canonical_text, known), pa.string())
    if all(isinstance(value, bool) for value in known):
        return pa.array(known, pa.bool_())
    return pa.array(map(float, known), pa.float64())
