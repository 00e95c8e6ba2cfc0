"""Cross-fit prior scores for logs that carry none, by a pointwise model.

They stand in for the scores of an upstream ranking stage. The score of a list never depends on a label of that list,
and no score and no feature depends on a label of the test fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import lightgbm
import numpy as np

from models.contract.arrays import Bools, Floats, Ints
from models.datasets.splits import bucket

TEST: Final = -1
"""The fold number of test rows: scored, never learnt from."""

_FOLDS: Final = 5
DESCRIPTION: Final = (
    "LightGBM, pointwise, without position; cross-fitted in five folds over all but the test lists, "
    "and fitted on all of those for the test lists"
)

_BLOCK: Final = 1 << 17
"""Rows that are scored at once."""

_FLOOR: Final = 1e-4
_PARAMETERS: Final[dict[str, Any]] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


class Matrix(Protocol):
    """Matrix [n, F] whose rows are taken by their numbers."""

    def __getitem__(self, rows: Ints, /) -> Floats:
        """Return the rows, [r, F]."""


def cross_fit_folds(keys: Sequence[str], is_test: Sequence[bool] | Bools, *, seed: int) -> Ints:
    """Draw a cross-fitting fold per key, independent of test folds. Test keys get `TEST`."""
    folds = [bucket(key, _FOLDS, seed=seed, purpose="cross-fit") for key in keys]
    return np.where(is_test, TEST, np.array(folds, np.int64))


def cross_fit(
    features: Callable[[int | None], Matrix],
    labels: Ints,
    fold: Ints,
    *,
    seed: int,
    rounds: int = 120,
    learn: Bools | None = None,
) -> Floats:
    """Predict P(label = 1) for every row, [n], inside (0, 1).

    Fold k is scored by a model of the other folds, `TEST` by a model of all folds. `features(k)` gives the matrix [n,
    F] in which nothing stems from a label of fold k (None: of the test fold), nor from a label of a row's own fold.
    Rows outside `learn` are scored only. Raises `ValueError` where a fold leaves nothing to learn from.
    """
    scores: Floats = np.full(len(labels), np.nan)
    learnable = np.ones(len(labels), bool) if learn is None else learn
    for k in np.unique(fold).tolist():
        held_out = None if k == TEST else k
        matrix = features(held_out)
        # Rows of the test fold are never learnt from, whatever fold is held out.
        rows = np.flatnonzero(learnable & (fold != TEST) & (fold != k))
        if len(np.unique(labels[rows])) < 2:
            raise ValueError(f"prior scores: the lists outside fold {k} hold one label only; there are too few lists")
        data = lightgbm.Dataset(matrix[rows], labels[rows])
        model = lightgbm.train({**_PARAMETERS, "seed": seed}, data, num_boost_round=rounds)
        held = np.flatnonzero(fold == k)
        for block in np.split(held, range(_BLOCK, len(held), _BLOCK)):
            scores[block] = model.predict(matrix[block])
    return scores.clip(_FLOOR, 1 - _FLOOR).round(6)


def conditional(joint: Floats, marginal: Floats) -> Floats:
    """Divide P(purchase) by P(click), [n], cut to (0, 1) since both are noisy."""
    return (joint / marginal).clip(0.01, 0.99).round(6)


def smoothed_rate(counts: Floats, *, rate: float, strength: float) -> Floats:
    """Turn times seen and clicked into log(1 + seen) and a smoothed rate, [n, 2]."""
    seen, clicked = counts.T
    return np.column_stack([np.log1p(seen), (clicked + strength * rate) / (seen + strength)])


class FoldCounts:
    """Sum values per key over other folds, so that no sum holds a row's own."""

    def __init__(self, keys: Ints, fold: Ints, values: Floats, counted: Bools | None = None) -> None:
        """Sum `values` [n, m] by `keys` [n], numbered from 0. Rows of the test fold are not counted."""
        self._keys, self._fold = keys, fold
        include = fold != TEST if counted is None else counted & (fold != TEST)
        folds = max(int(fold.max(initial=0)), 0) + 1
        self._sums = np.zeros((folds, int(keys.max()) + 1, values.shape[1]))
        np.add.at(self._sums, (fold[include], keys[include]), values[include])
        self._total = self._sums.sum(axis=0)

    def excluding(self, held_out: int | None) -> Floats:
        """Return the sums [n, m] of each row's key without its own fold and `held_out`."""
        result: Floats = self._total[self._keys].copy()
        own = self._fold != TEST
        result[own] -= self._sums[self._fold[own], self._keys[own]]
        if held_out is not None:
            other = self._fold != held_out
            result[other] -= self._sums[held_out, self._keys[other]]
        return np.maximum(result, 0.0)
