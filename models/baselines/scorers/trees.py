"""Fit trees to rows of items by LightGBM, and keep them as text.

All scorers use the same sizes; only what they optimise differs. Letters: r rows, F columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np

from models.baselines.scorers.item_rows import category_columns
from models.contract.arrays import Floats, Floats32, Ints
from models.contract.spec import FeatureSpec
from models.files import whole_file

_ROUNDS: Final = 500
"""Trees, at most."""
_PATIENCE: Final = 30
"""Trees without a better figure on held-out lists after which no more are added."""
_SIZES: Final[Mapping[str, Any]] = {
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


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Hold rows [r, F] with labels [r], and how many rows each list has where lists matter."""

    table: Floats32
    labels: Floats32
    lists: Ints | None = None

    def dataset(self, spec: FeatureSpec, reference: lightgbm.Dataset | None = None) -> lightgbm.Dataset:
        """Make LightGBM's form of the rows; `reference` is that of the rows to learn from."""
        labels = np.ascontiguousarray(self.labels)
        columns = category_columns(spec)
        return lightgbm.Dataset(self.table, labels, group=self.lists, categorical_feature=columns, reference=reference)


def fit_trees(
    objective: Mapping[str, Any], learnt: LabelledRows, stop: LabelledRows, spec: FeatureSpec, *, seed: int
) -> lightgbm.Booster:
    """Fit trees to `learnt`, as many as are best on `stop` by the objective's metric."""
    train = learnt.dataset(spec)
    return lightgbm.train(
        {**_SIZES, **objective, "seed": seed},
        train,
        _ROUNDS,
        valid_sets=[stop.dataset(spec, train)],
        callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
    )


def predict(booster: lightgbm.Booster, table: Floats32) -> Floats:
    """Predict a number per row [r], on one thread."""
    return np.asarray(booster.predict(table, num_threads=1), np.float64)


def write_booster(path: Path, booster: lightgbm.Booster) -> None:
    """Write the best trees of a booster as text, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(booster.model_to_string(), "utf-8")


def read_booster(path: Path) -> lightgbm.Booster:
    """Read what `write_booster` wrote. Raises `ValueError` naming a file that is missing or damaged."""
    try:
        return lightgbm.Booster(model_str=path.read_text("utf-8"))
    except (OSError, lightgbm.basic.LightGBMError) as error:
        raise ValueError(f"{path}: is no file of trees: {error}") from error
