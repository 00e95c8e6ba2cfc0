"""Encode records as named, padded arrays, the same way in training and serving.

Axis letters: N slots (queues × list length), C categorical columns, F number columns, S scores, E embedding width.
NumPy only. Fields outside the spec are not read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from models.contract.arrays import Arrays, Floats, Floats32, Ints
from models.contract.candidates import Candidates, as_table
from models.contract.categories import CategoryColumn
from models.contract.scalars import Scalar, read_number
from models.contract.scaling import Scale, logit
from models.contract.spec import Categorical, FeatureSpec, Number

PRIOR_SCORES: Final = (("ctr",), ("ctr", "cvr"))
"""Per counted objective (click, conversion) the scores whose product is the ranking stage's estimate of it."""


class Encoder:
    """Encode features by a `FeatureSpec`. Safe to share between threads."""

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        self.user_columns = _columns(spec.user_categoricals)
        self.item_columns = _columns(spec.item_categoricals)
        # User and context may each have a field of the same name; the user's columns come first.
        self._own_columns = sum(not isinstance(f, Number) for f in spec.user)
        self._own_user_numbers = len(spec.user) - self._own_columns
        self._own_numbers = spec.own_item_numbers
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
        numbers = [read_number(user.get(f.name), f"user.{f.name}") for f in fields[:own]]
        numbers += [read_number(context.get(f.name), f"context.{f.name}") for f in fields[own:]]
        return {"user_ids": np.array(ids, np.int64), "user_numbers": self._scale_user.one(numbers)}

    def user_arrays(self, ids: Ints, columns: Floats) -> Arrays:
        """Encode n users from `ids` [C, n] and raw numbers `columns` [F, n], which are written over."""
        return {"user_ids": ids.T.copy(), "user_numbers": self._scale_user(columns)}

    def encode_items(self, candidates: Candidates, places: Ints | None = None) -> Arrays:
        """Encode n candidates: those at `places` [n], or all.

        Returns ``item_ids`` int64 [n, C], ``item_numbers`` float32 [n, F], ``item_scores`` float32 [n, S], ``priors``
        float32 [n, O] (see `prior_logits`) and ``price`` float32 [n] in currency. Raises `FeatureError` naming
        candidate and field.
        """
        table = as_table(candidates)
        places = np.arange(len(table)) if places is None else places
        # Column by column: a request has far fewer fields than candidates, and calls are what this costs.
        ids = [table.rows(column, places) for column in self.item_columns]
        prices = self.complete_prices(table.prices_at(places))
        numbers = [table.numbers(f.name, places) for f in self._own_numbers]
        numbers += [prices] if self.spec.price is not None else []
        numbers += [table.score_at(f.name, places) for f in self.spec.scores]
        n = len(places)
        columns = np.array(numbers, np.float64).reshape(len(numbers), n)
        return self.item_arrays(np.array(ids, np.int64).reshape(len(ids), n), columns, prices)

    def item_arrays(self, ids: Ints, columns: Floats, prices: Floats) -> Arrays:
        """Encode n items whose columns were read already; `encode_items` says what it returns.

        `ids` [C, n] are rows of the embedding table, `columns` [F + S, n] raw numbers and scores, NaN where missing,
        which are written over, and `prices` [n] as `complete_prices` makes them.
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
        missing = np.isnan(raw)
        if np.count_nonzero(missing):
            raw = np.where(missing, self._score_defaults, raw)
        return prior_logits(self._prior_factors, raw)

    def complete_prices(self, prices: Floats) -> Floats:
        """Put the spec's default, or 0, for each price [n] that is missing."""
        missing = np.isnan(prices)
        if not np.count_nonzero(missing):
            return prices
        return np.where(missing, 0.0 if self.spec.price is None else self.spec.price.default, prices)

    def encode_slots(self, candidates: Candidates, slots: Ints, places: Ints | None = None) -> Arrays:
        """Encode the candidates that `slots` [N] names (−1: empty slot), padded to N.

        `places` are those of the slots that are not empty, where they are known already. Beside `encode_items`' arrays
        there are ``valid`` bool [N] and ``embeddings`` float32 [N, E], unit rows, zero where a candidate has none. E is
        the longest embedding among them, at least 1.
        """
        table = as_table(candidates)
        valid = slots >= 0
        places = slots[valid] if places is None else places
        packed = self.encode_items(table, places)
        packed["embeddings"] = table.embeddings(places)
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


def prior_logits(factors: Sequence[Sequence[int] | None], scores: Floats) -> Floats32:
    """Turn raw `scores` [S, n] into the logits that a value model's skip reads, float32 [n, O].

    Per objective the product of those of the `scores` that its `factors` name, each a probability clipped to 0..1. The
    product is clipped to 1e-6 from both; zeros for None.
    """
    logits = np.zeros((scores.shape[1], len(factors)), np.float32)
    known = [i for i, rows in enumerate(factors) if rows is not None]
    if known:
        clipped = np.minimum(np.maximum(scores, 0.0), 1.0)
        products = np.empty((len(known), scores.shape[1]))
        for product, rows in zip(products, (rows for rows in factors if rows is not None), strict=True):
            product[:] = math.prod((clipped[row] for row in rows[1:]), start=clipped[rows[0]])
        logit(products)
        logits[:, known if len(known) < len(factors) else slice(None)] = products.T
    return logits


def _columns(fields: Sequence[Categorical]) -> tuple[CategoryColumn, ...]:
    columns, offset = [], 0
    for field in fields:
        columns.append(CategoryColumn(field, offset))
        offset += field.rows
    return tuple(columns)
