"""Fit a `FeatureSpec` to list records: fields, vocabularies and standardisation.

It reads exposed items only: a category that no exposed item has would get an embedding that is never trained. Labels
are never read.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from models.contract.arrays import Floats
from models.contract.features import Scalar, canonical_text
from models.contract.spec import Category, FeatureSpec, Field, Hashed, Number, Transform
from models.data.field_choices import HASH_BUCKETS, MAX_VOCABULARY, MIN_COUNT, FieldChoices, FieldKind
from models.data.lists import ListRecord
from models.data.windows import ListWindow

_HEAVY_SKEW: Final = 2.0
_LOGIT_EPSILON: Final = 1e-6

_Columns = defaultdict[str, list[Scalar]]


def fit_spec(
    records: Iterable[ListRecord],
    *,
    max_vocabulary: int = MAX_VOCABULARY,
    min_count: int = MIN_COUNT,
    hash_buckets: int = HASH_BUCKETS,
) -> FeatureSpec:
    """Fit the spec to training lists; the same records always give the same fingerprint.

    A field with a string or only booleans is categorical: up to `max_vocabulary` values make a vocabulary of those seen
    at least `min_count` times (the rest share the unknown bucket, which is how that bucket gets trained); more are
    hashed into a power of two of buckets, no fewer than there are values unless `hash_buckets` caps it. Every other
    field is a number: ids that are written as numbers must come as strings. Scores in 0..1 become logits; the price and
    non-negative numbers with a long tail become logarithms; missing numbers take the median.

    Raises `ValueError` if there are no records, or naming the field that holds NaN or an infinity.
    """
    fitter = SpecFitter(FieldChoices(max_vocabulary=max_vocabulary, min_count=min_count, hash_buckets=hash_buckets))
    for record in records:
        fitter.add_record(record)
    return fitter.fit()


class SpecFitter:
    """Fit a spec to lists that come window by window; see `fit_spec` for the rules.

    `choices` overrule what the values suggest. Raises `ValueError` naming a field that cannot be read as chosen.
    """

    def __init__(self, choices: FieldChoices | None = None) -> None:
        self._choices = choices or FieldChoices()
        self._groups: dict[str, _Columns] = {
            group: defaultdict(list) for group in ("user", "context", "item", "scores", "price")
        }
        self._lists = 0

    def add(self, window: ListWindow) -> None:
        """Read the lists of a window."""
        for record in window.records():
            self.add_record(record)

    def add_record(self, record: ListRecord) -> None:
        """Read one list."""
        self._lists += 1
        _collect(self._groups, record)

    def fit(self) -> FeatureSpec:
        """Return the spec of all that was added. Raises `ValueError` if nothing was."""
        if not self._lists:
            raise ValueError("there are no lists to fit a feature spec to")
        scores = self._columns("scores")
        ignored = self._choices.kind("price", "price") == "ignore"
        prices = None if ignored else self._groups["price"].get("price")
        return FeatureSpec(
            user=self._fields("user"),
            context=self._fields("context"),
            item=self._fields("item"),
            scores=tuple(_score(name, values) for name, values in scores),
            price=None if prices is None else _number("price", _numeric("price", prices), "log1p"),
        )

    def _columns(self, group: str) -> list[tuple[str, list[Scalar]]]:
        columns = sorted(self._groups[group].items())
        return [(name, values) for name, values in columns if self._choices.kind(group, name) != "ignore"]

    def _fields(self, group: str) -> tuple[Field, ...]:
        return tuple(_field(group, name, values, self._choices) for name, values in self._columns(group))


def _collect(groups: Mapping[str, _Columns], record: ListRecord) -> None:
    _add(groups["user"], record.user)
    _add(groups["context"], record.context)
    for candidate in (record.candidates[i] for i in record.exposed):
        _add(groups["item"], candidate.features)
        _add(groups["scores"], candidate.scores)
        _add(groups["price"], {"price": candidate.price})


def _add(columns: _Columns, row: Mapping[str, Scalar]) -> None:
    for name, value in row.items():
        if value is not None:
            columns[name].append(value)


def _field(group: str, name: str, values: Sequence[Scalar], choices: FieldChoices) -> Field:
    path, kind = f"{group}.{name}", choices.kind(group, name)
    holds_text = any(isinstance(v, str) for v in values)
    if kind == "number" and holds_text:
        raise ValueError(f"{path}: holds text, so it cannot be read as a number")
    if kind in ("category", "hash") or (kind is None and (holds_text or all(isinstance(v, bool) for v in values))):
        return _categorical(name, values, kind, choices)
    numbers = _numeric(path, values)
    return _number(name, numbers, "log1p" if _has_long_tail(numbers) else "identity")


def _categorical(
    name: str, values: Sequence[Scalar], kind: FieldKind | None, choices: FieldChoices
) -> Category | Hashed:
    counts = Counter(canonical_text(v) for v in values if v is not None)
    if kind == "category" or (kind is None and len(counts) <= choices.max_vocabulary):
        frequent = sorted(counts, key=lambda v: (-counts[v], v))[: choices.max_vocabulary]
        return Category(name, tuple(sorted(v for v in frequent if counts[v] >= choices.min_count)))
    return Hashed(name, min(1 << (len(counts) - 1).bit_length(), choices.hash_buckets))


def _score(name: str, values: Sequence[Scalar]) -> Number:
    numbers = _numeric(f"scores.{name}", values)
    is_probability = numbers.min() >= 0 and numbers.max() <= 1
    return _number(name, numbers, "logit" if is_probability else "identity")


def _numeric(path: str, values: Sequence[Scalar]) -> Floats:
    numbers = np.array([float(v) for v in values if v is not None])
    if not np.isfinite(numbers).all():
        raise ValueError(f"{path}: holds {numbers[~np.isfinite(numbers)][0]}, not a finite number")
    return numbers


def _number(name: str, values: Floats, transform: Transform) -> Number:
    x = _transformed(values, transform)
    std = float(x.std())
    # A constant column carries nothing; leave its scale alone rather than blow rounding errors up.
    usable = math.isfinite(std) and std > 1e-9 * max(1.0, float(np.abs(x).max()))
    return Number(name, float(x.mean()), std if usable else 1.0, float(np.median(values)), transform)


def _transformed(values: Floats, transform: Transform) -> Floats:
    if transform == "log1p":
        return np.log1p(values)
    if transform == "logit":
        p = np.clip(values, _LOGIT_EPSILON, 1 - _LOGIT_EPSILON)
        return np.log(p) - np.log1p(-p)
    return values


def _has_long_tail(values: Floats) -> bool:
    if values.min() < 0:
        return False
    skew = _skewness(values)
    return skew > _HEAVY_SKEW and abs(_skewness(np.log1p(values))) < skew


def _skewness(values: Floats) -> float:
    std = float(values.std())
    return 0.0 if std == 0 else float((((values - values.mean()) / std) ** 3).mean())
