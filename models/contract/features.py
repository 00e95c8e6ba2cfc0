"""Encode records as named, padded arrays, the same way in training and serving.

Axis letters: N slots (queues × list length), C categorical columns, F number columns, S scores, E embedding width.
NumPy only. Fields outside the spec are not read.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from models.contract.arrays import Arrays, Floats, Floats32, Ints
from models.contract.scaling import LOGIT_EPSILON, Scale
from models.contract.spec import Categorical, Category, FeatureSpec, Number

Scalar = str | int | float | bool | None

PRIOR_SCORES: Final = (("ctr",), ("ctr", "cvr"))
"""Per counted objective (click, conversion) the scores whose product is the ranking stage's estimate of it."""


class FeatureError(ValueError):
    """Report a request's value that cannot be used; `path` names it, such as ``candidates[3].features.stars``."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class CandidateLike(Protocol):
    """Offer a candidate's fields, as those of requests and list records do."""

    @property
    def scores(self) -> Mapping[str, float | None]: ...
    @property
    def price(self) -> float | None: ...
    @property
    def features(self) -> Mapping[str, Scalar]: ...
    @property
    def embedding(self) -> Sequence[float] | None: ...


class Encoder:
    """Encode features by a `FeatureSpec`. Safe to share between threads."""

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        self.user_columns = _columns(spec.user_categoricals)
        self.item_columns = _columns(spec.item_categoricals)
        # User and context may each have a field of the same name; the user's columns come first.
        self._own_columns = sum(not isinstance(f, Number) for f in spec.user)
        self._own_user_numbers = len(spec.user) - self._own_columns
        self._own_numbers = spec.item_numbers[: len(spec.item_numbers) - (spec.price is not None)]
        self._scale_user = Scale(spec.user_numbers)
        self._scale_item = Scale((*spec.item_numbers, *spec.scores))
        places = {f.name: i for i, f in enumerate(spec.scores)}
        self._prior_factors = [
            [places[name] for name in names] if known else None
            for names, known in zip(PRIOR_SCORES, known_priors(spec), strict=True)
        ]
        self._score_defaults = np.array([f.default for f in spec.scores], np.float64).reshape(-1, 1)

    def encode_user(self, user: Mapping[str, Scalar], context: Mapping[str, Scalar]) -> Arrays:
        """Encode ``user_ids`` int64 [C] and ``user_numbers`` float32 [F]; raises `FeatureError` naming the field."""
        own, columns = self._own_columns, self.user_columns
        ids = [c.row(user.get(c.name)) for c in columns[:own]] + [c.row(context.get(c.name)) for c in columns[own:]]
        own, fields = self._own_user_numbers, self.spec.user_numbers
        numbers = [_number(user.get(f.name), f"user.{f.name}") for f in fields[:own]]
        numbers += [_number(context.get(f.name), f"context.{f.name}") for f in fields[own:]]
        columns_of_one = np.array(numbers, np.float64).reshape(-1, 1)
        return {"user_ids": np.array(ids, np.int64), "user_numbers": self._scale_user(columns_of_one)[0]}

    def user_arrays(self, ids: Ints, columns: Floats) -> Arrays:
        """Encode n users from `ids` [C, n] and raw numbers `columns` [F, n], which are written over."""
        return {"user_ids": ids.T.copy(), "user_numbers": self._scale_user(columns)}

    def encode_items(self, candidates: Sequence[CandidateLike], places: Sequence[int] | None = None) -> Arrays:
        """Encode n candidates.

        Returns ``item_ids`` int64 [n, C], ``item_numbers`` float32 [n, F], ``item_scores`` float32 [n, S], ``priors``
        float32 [n, O] (see `prior_logits`) and ``price`` float32 [n] in currency. `places` are the candidates' indices
        in the request, for error messages. Raises `FeatureError` naming candidate and field.
        """
        places = range(len(candidates)) if places is None else places
        # Column by column: a request has far fewer fields than candidates, and calls are what this costs.
        features, scores = [c.features for c in candidates], [c.scores for c in candidates]
        ids = [column.rows([f.get(column.name) for f in features]) for column in self.item_columns]
        prices = self.prices(candidates)
        numbers = [_numbers([t.get(f.name) for t in features], "features", f.name, places) for f in self._own_numbers]
        numbers += [prices] if self.spec.price is not None else []
        numbers += [_numbers([t.get(f.name) for t in scores], "scores", f.name, places) for f in self.spec.scores]
        n = len(candidates)
        columns = np.array(numbers, np.float64).reshape(len(numbers), n)
        return self.item_arrays(np.array(ids, np.int64).reshape(len(ids), n), columns, prices)

    def item_arrays(self, ids: Ints, columns: Floats, prices: Floats) -> Arrays:
        """Encode n items whose columns were read already; `encode_items` says what it returns.

        `ids` [C, n] are rows of the embedding table, `columns` [F + S, n] raw numbers and scores, NaN where missing,
        which are written over, and `prices` [n] as `prices` reads them.
        """
        own = len(self.spec.item_numbers)
        priors = self._priors(columns)  # before scaling, which writes over its argument
        scaled = self._scale_item(columns)
        return {
            "item_ids": ids.T.copy(),
            "item_numbers": scaled[:, :own].copy(),
            "item_scores": scaled[:, own:].copy(),
            "priors": priors,
            "price": prices.astype(np.float32),
        }

    def _priors(self, columns: Floats) -> Floats32:
        """Compute `prior_logits` [n, O] from raw number columns [F + S, n], defaults filled in."""
        if self._prior_factors[0] is None:  # every objective's estimate begins with the first score
            return np.zeros((columns.shape[1], len(PRIOR_SCORES)), np.float32)
        raw = columns[len(self.spec.item_numbers) :]
        raw = np.where(np.isnan(raw), self._score_defaults, raw)
        return prior_logits([None if f is None else [raw[i] for i in f] for f in self._prior_factors], raw.shape[1])

    def prices(self, candidates: Sequence[CandidateLike]) -> Floats:
        """Read prices [n] in currency; the spec's default, or 0, stands for a missing one."""
        default = 0.0 if self.spec.price is None else self.spec.price.default
        return np.array([default if c.price is None else c.price for c in candidates], np.float64)

    def encode_slots(self, candidates: Sequence[CandidateLike], slots: Ints) -> Arrays:
        """Encode the candidates that `slots` [N] names (−1: empty slot), padded to N.

        Beside `encode_items`' arrays there are ``valid`` bool [N] and ``embeddings`` float32 [N, E], unit rows, zero
        where a candidate has none. E is the longest embedding among them, at least 1.
        """
        valid = slots >= 0
        places = slots[valid].tolist()
        chosen = [candidates[i] for i in places]
        packed = self.encode_items(chosen, places)
        packed["embeddings"] = unit_embeddings(chosen)
        arrays: Arrays = {"valid": valid}
        if len(places) == len(slots):
            return {**arrays, **packed}
        for name, values in packed.items():
            padded = np.zeros((len(slots), *values.shape[1:]), values.dtype)
            padded[valid] = values
            arrays[name] = padded
        return arrays


def encode_preferences(weights: Sequence[float], trade_off: float, window: int) -> Arrays:
    """Encode α, β, γ, float32 [3], and MMR's λ, float32 [], and window, int64 []."""
    return {
        "objective_weights": np.array(weights, np.float32),
        "trade_off": np.array(trade_off, np.float32),
        "window": np.array(window, np.int64),
    }


def known_priors(spec: FeatureSpec) -> tuple[bool, ...]:
    """Tell per counted objective (click, conversion) whether the spec has every score for it."""
    scores = {f.name for f in spec.scores}
    return tuple(scores.issuperset(names) for names in PRIOR_SCORES)


def prior_logits(factors: Sequence[Sequence[Floats] | None], n: int) -> Floats32:
    """Turn raw scores into the logits that a value model's skip reads, float32 [n, O].

    Per objective the product of its `factors` [n], each a probability clipped to 1e-6 from 0 and 1; zeros for None.
    """
    logits = np.zeros((n, len(factors)), np.float32)
    for column, parts in zip(logits.T, factors, strict=True):
        if parts is not None:
            first, *others = (np.minimum(np.maximum(part, 0.0), 1.0) for part in parts)
            p = np.minimum(np.maximum(math.prod(others, start=first), LOGIT_EPSILON), 1 - LOGIT_EPSILON)
            column[:] = np.log(p) - np.log1p(-p)
    return logits


def unit_embeddings(candidates: Sequence[CandidateLike]) -> Floats32:
    """Scale embeddings [n, E ≥ 1] to length 1; a missing or zero one is zeros."""
    given = [(i, c.embedding) for i, c in enumerate(candidates) if c.embedding]
    if not given:
        return np.zeros((len(candidates), 1), np.float32)
    places, embeddings = zip(*given, strict=True)
    widths = set(map(len, embeddings))
    width = max(widths)
    rows = np.zeros((len(candidates), width), np.float64)
    if len(widths) == 1:
        numbers = itertools.chain.from_iterable(embeddings)
        rows[list(places)] = np.fromiter(numbers, np.float64, len(given) * width).reshape(-1, width)
    else:
        for i, embedding in given:
            rows[i, : len(embedding)] = embedding
    return unit_rows(rows)


def unit_rows(rows: Floats) -> Floats32:
    """Scale `rows` [n, E], which are written over, to length 1; zeros stay zeros."""
    # Dividing by the largest magnitude first keeps squares of huge or tiny numbers finite.
    peak = np.abs(rows).max(axis=1, keepdims=True)
    rows = np.divide(rows, peak, out=rows, where=peak > 0)
    norm = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    np.divide(rows, norm, out=rows, where=norm > 0)
    scaled: Floats32 = rows.astype(np.float32)
    return scaled


class CategoryColumn:
    """Map one categorical field's values to rows of the shared embedding table."""

    __slots__ = ("_buckets", "_offset", "_prefix", "_seen", "name")

    # Together they bound the memory that clients can make it take.
    _MOST_SEEN: Final = 65_536
    _LONGEST_SEEN: Final = 64

    def __init__(self, field: Categorical, offset: int) -> None:
        self.name = field.name
        self._offset = offset
        self._prefix = f"{field.name}="
        vocabulary = field.vocabulary if isinstance(field, Category) else ()
        self._buckets = 0 if isinstance(field, Category) else field.buckets
        # Text to row: a vocabulary whole, hashed values as they are met. Popular ids come again and again.
        self._seen = {value: offset + i for i, value in enumerate(vocabulary, start=1)}

    def rows(self, values: Sequence[Scalar]) -> list[int]:
        """Map each value as `row` does."""
        seen = self._seen.get
        # Keys are all strings, so a number or a bool misses and goes the long way.
        return [self.row(value) if (row := seen(value)) is None else row for value in values]  # type: ignore[arg-type]

    def row(self, value: Scalar) -> int:
        """Map a value to its row; a missing or unlisted one has the field's first."""
        if value is None:
            return self._offset
        text = value if isinstance(value, str) else canonical_text(value)
        row = self._seen.get(text)
        if row is not None:
            return row
        return self._hash(text) if self._buckets else self._offset

    def _hash(self, text: str) -> int:
        digest = zlib.crc32((self._prefix + text).encode("utf-8", "surrogatepass"))
        row = self._offset + 1 + digest % self._buckets
        if len(text) <= self._LONGEST_SEEN:
            if len(self._seen) >= self._MOST_SEEN:
                self._seen.clear()
            self._seen[text] = row
        return row


def canonical_text(value: str | int | float | bool) -> str:
    """Write a category as text; 5 and 5.0 are alike, as are true and True."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _columns(fields: Sequence[Categorical]) -> tuple[CategoryColumn, ...]:
    columns, offset = [], 0
    for field in fields:
        columns.append(CategoryColumn(field, offset))
        offset += field.rows
    return tuple(columns)


def _numbers(values: list[Scalar], group: str, name: str, places: Sequence[int]) -> Floats:
    """Read numbers, NaN where one is missing. Raises `FeatureError` naming the first non-number."""
    if str not in set(map(type, values)):  # NumPy would read "5" as 5
        try:
            return np.array(values, np.float64)
        except OverflowError:
            pass  # the loop below finds which
    named = zip(values, places, strict=True)
    return np.array([_number(v, f"candidates[{place}].{group}.{name}") for v, place in named], np.float64)


def _number(value: Scalar, path: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, str):
        raise FeatureError(path, f"must be a number, not the string {value[:40]!r}")
    try:
        return float(value)
    except OverflowError:
        raise FeatureError(path, "is too large for a number") from None
