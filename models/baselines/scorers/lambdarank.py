"""Learn to rank the items of logged lists by LightGBM's lambdarank (LTR).

Clicks are the relevance: the score takes the place of the ranking stage's ``ctr`` in a formula that weighs conversions
and GMV itself, so grading purchases above clicks would count them twice. As in the pointwise model the position shown
is a feature in training and held at the top of the list when scoring.

Lambdarank compares items of one list, so its scores have no scale. A logistic curve, fitted to held-out lists at the
positions where their items were shown, gives them one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import lightgbm
import numpy as np

from models.baselines.scorers.calibration import Calibration, fit_calibration
from models.baselines.scorers.item_rows import candidate_scores, shown_rows
from models.baselines.scorers.trees import LabelledRows, fit_trees, predict, read_booster, write_booster
from models.contract.arrays import Bools, Floats, Floats32
from models.contract.spec import FeatureSpec
from models.data.batches import ListArrays
from models.data.records import ListRecord
from models.files import write_json

_TREES: Final = "ranking.txt"
_CALIBRATION: Final = "calibration.json"


@dataclass(frozen=True)
class LambdarankModel:
    """Hold a fitted booster, and the curve from its scores to P(click)."""

    spec: FeatureSpec
    booster: lightgbm.Booster
    calibration: Calibration

    @classmethod
    def load(cls, folder: Path, spec: FeatureSpec) -> LambdarankModel:
        """Read what `save` wrote."""
        curve = json.loads((folder / _CALIBRATION).read_text("utf-8"))
        return cls(spec, read_booster(folder / _TREES), Calibration(**curve))

    def save(self, folder: Path) -> None:
        """Write the booster and the curve to files in `folder`."""
        write_booster(folder / _TREES, self.booster)
        write_json(folder / _CALIBRATION, asdict(self.calibration))

    def request_scores(self, records: Sequence[ListRecord]) -> list[dict[str, Floats]]:
        """Predict ``ctr`` [N] = P(click) of all candidates at the top position, by request.

        Raises `ValueError` naming the list and the field that cannot be encoded.
        """
        return candidate_scores(records, self.spec, {"ctr": self._probabilities})

    def _probabilities(self, table: Floats32) -> Floats:
        return self.calibration(predict(self.booster, table))


def fit_lambdarank(train: ListArrays, held_out: ListArrays, spec: FeatureSpec, *, seed: int) -> LambdarankModel:
    """Fit to the order of clicks in lists, stopping early by the NDCG of others.

    The held-out lists calibrate the scores, too. Raises `ValueError` unless both have lists with a clicked item beside
    one that was not.
    """
    parts = {"training": train, "held-out": held_out}
    for name, data in parts.items():
        if not _decided(data).any():
            raise ValueError(f"lambdarank: no {name} list has a click beside an item without one")
    places = train.labels.shape[1]
    objective = {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [places],
        "lambdarank_truncation_level": places,
    }
    booster = fit_trees(objective, _rows(train), _rows(held_out), spec, seed=seed)
    clicks = held_out.labels[held_out.filled][:, 0].astype(np.float64)
    return LambdarankModel(spec, booster, fit_calibration(predict(booster, shown_rows(held_out)), clicks))


def _decided(data: ListArrays) -> Bools:
    """Tell which lists [n] have a click beside an item without one."""
    clicks = (data.labels[:, :, 0] * data.filled).sum(axis=1)
    decided: Bools = (clicks > 0) & (clicks < data.lengths)
    return decided


def _rows(data: ListArrays) -> LabelledRows:
    """Take the items of the lists that say something about order."""
    decided = _decided(data)
    rows = np.repeat(decided, data.lengths)
    labels = data.labels[data.filled][rows, 0]
    return LabelledRows(shown_rows(data)[rows], labels, data.lengths[decided])
