"""Predict P(click) and P(purchase | click) of one item by LightGBM, blind to its list.

It is what a list model must beat: the same encoded features and labels, but no neighbours. The position shown is a
feature in training, so that its effect is not put down to the items, and is held at the top of the list when scoring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.contract.arrays import Bools, Floats
from models.contract.candidates import CandidateLike
from models.contract.features import Encoder
from models.contract.scalars import Scalar
from models.contract.spec import FeatureSpec
from models.data.batches import ListArrays, encode_lists
from models.data.records import ListRecord
from models.datasets.splits import bucket

_ROUNDS: Final = 500
_PATIENCE: Final = 30
_HELD_OUT: Final = 8
"""One in so many lists decides how many trees there are."""

_SETTINGS: Final[Mapping[str, Any]] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.8,
    # Strong smoothing of categories, or hashed ids are learnt by heart and the result falls below the prior scores.
    "cat_smooth": 100.0,
    "cat_l2": 50.0,
    "min_data_per_group": 200,
    "max_cat_threshold": 16,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


@dataclass(frozen=True)
class PointwiseModel:
    """Hold fitted boosters; `conversion` is None without enough purchases to learn from."""

    spec: FeatureSpec
    click: lightgbm.Booster
    conversion: lightgbm.Booster | None

    def scores(
        self, user: Mapping[str, Scalar], context: Mapping[str, Scalar], candidates: Sequence[CandidateLike]
    ) -> dict[str, Floats]:
        """Predict ``ctr`` [n] = P(click) and, if learnt, ``cvr`` [n] = P(purchase | click), at the top position.

        Raises `models.contract.features.FeatureError` naming a field that cannot be encoded.
        """
        encoder = Encoder(self.spec)
        arrays = encoder.encode_items(candidates)
        for name, values in encoder.encode_user(user, context).items():
            arrays[name] = np.broadcast_to(values, (len(candidates), len(values)))
        table = _table(arrays, np.zeros(len(candidates)))
        scores = {"ctr": _predict(self.click, table)}
        if self.conversion is not None:
            scores["cvr"] = _predict(self.conversion, table)
        return scores


def fit_pointwise(records: Sequence[ListRecord], spec: FeatureSpec, *, seed: int) -> PointwiseModel:
    """Fit to the exposed items of `records`, stopping early by an eighth of them.

    Raises `ValueError` if there are no lists, or fewer than two lists with a click.
    """
    data = encode_lists(records, spec, max((len(r.exposed) for r in records), default=1) or 1)
    table, labels, known = _rows(data)
    held = np.array([bucket(r.request_id, _HELD_OUT, seed=seed, purpose="pointwise") == 0 for r in records])
    stop = np.repeat(held, data.lengths)
    click = _fit(table, labels[:, 0], stop, spec, seed)
    if click is None:
        raise ValueError("a pointwise model needs clicks, and items without one, in several lists")
    bought_or_not = known & (labels[:, 0] > 0)
    conversion = _fit(table[bought_or_not], labels[bought_or_not, 1], stop[bought_or_not], spec, seed)
    return PointwiseModel(spec, click, conversion)


def _rows(data: ListArrays) -> tuple[Floats, Floats, Bools]:
    """Return rows of exposed items: features [r, …], clicks and purchases [r, 2], and if purchases are known [r]."""
    filled = data.filled
    arrays = {
        name: np.repeat(values, data.lengths, axis=0) if name.startswith("user") else values[filled]
        for name, values in data.features.items()
    }
    positions = np.broadcast_to(np.arange(filled.shape[1]), filled.shape)[filled]
    labels = data.labels[filled][:, :2].astype(np.float64)
    return _table(arrays, positions), labels, np.repeat(data.observed[:, 1], data.lengths)


def _table(arrays: Mapping[str, NDArray[np.generic]], positions: NDArray[np.generic]) -> Floats:
    names = ("user_ids", "item_ids", "user_numbers", "item_numbers", "item_scores")
    return np.column_stack([*(arrays[n] for n in names), positions]).astype(np.float64)


def _fit(table: Floats, labels: Floats, stop: Bools, spec: FeatureSpec, seed: int) -> lightgbm.Booster | None:
    if any(len(np.unique(labels[part])) < 2 for part in (stop, ~stop)):
        return None
    ids = list(range(len(spec.user_categoricals) + len(spec.item_categoricals)))
    train = lightgbm.Dataset(table[~stop], labels[~stop], categorical_feature=ids)
    valid = lightgbm.Dataset(table[stop], labels[stop], categorical_feature=ids, reference=train)
    stopping = lightgbm.early_stopping(_PATIENCE, verbose=False)
    return lightgbm.train({**_SETTINGS, "seed": seed}, train, _ROUNDS, valid_sets=[valid], callbacks=[stopping])


def _predict(booster: lightgbm.Booster, table: Floats) -> Floats:
    return np.asarray(booster.predict(table, num_threads=1), np.float64)
