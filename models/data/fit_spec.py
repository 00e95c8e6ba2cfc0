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
from models.data.records import ListRecord

MAX_VOCABULARY: Final = 64
MIN_COUNT: Final = 2
HASH_BUCKETS: Final = 1 << 16
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
    groups: dict[str, _Columns] = {g: defaultdict(list) for g in ("user", "context", "item", "scores", "price")}
    lists = 0
    for record in records:
        lists += 1
        _collect(groups, record)
    if not lists:
        raise ValueError("there are no lists to fit a feature spec to")

    def fields(group: str) -> tuple[Field, ...]:
        columns = sorted(groups[group].items())
        return tuple(_field(f"{group}.{n}", n, v, max_vocabulary, min_count, hash_buckets) for n, v in columns)

    prices = groups["price"].get("price")
    return FeatureSpec(
        user=fields("user"),
        context=fields("context"),
        item=fields("item"),
        scores=tuple(_score(name, values) for name, values in sorted(groups["scores"].items())),
        price=None if prices is None else _number("price", _numeric("price", prices), "log1p"),
    )


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


def _field(
    path: str, name: str, values: Sequence[Scalar], max_vocabulary: int, min_count: int, hash_buckets: int
) -> Field:
    if any(isinstance(v, str) for v in values) or all(isinstance(v, bool) for v in values):
        return _categorical(name, values, max_vocabulary, min_count, hash_buckets)
    numbers = _numeric(path, values)
    return _number(name, numbers, "log1p" if _has_long_tail(numbers) else "identity")


def _categorical(
    name: str, values: Sequence[Scalar], max_vocabulary: int, min_count: int, hash_buckets: int
) -> Category | Hashed:
    counts = Counter(canonical_text(v) for v in values if v is not None)
    if len(counts) <= max_vocabulary:
        return Category(name, tuple(sorted(v for v, n in counts.items() if n >= min_count)))
    return Hashed(name, min(1 << (len(counts) - 1).bit_length(), hash_buckets))


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
