"""Predict P(click) and P(purchase | click) of one item by LightGBM, blind to its list.

It is what a list model must beat: the same encoded features and labels, but no neighbours. The position shown is a
feature in training, so that its effect is not put down to the items, and is held at the top of the list when scoring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import lightgbm
import numpy as np

from models.baselines.scorers.item_rows import candidate_rows, candidate_scores, shown_rows
from models.baselines.scorers.trees import LabelledRows, fit_trees, predict, read_booster, write_booster
from models.contract.arrays import Arrays, Floats
from models.contract.candidates import CandidateLike
from models.contract.features import Encoder
from models.contract.scalars import Scalar
from models.contract.spec import FeatureSpec
from models.data.batches import ListArrays, encode_lists
from models.data.records import ListRecord
from models.datasets.splits import bucket

_HELD_OUT: Final = 8
"""One in so many lists decides how many trees there are."""
_FILES: Final = {"ctr": "click.txt", "cvr": "conversion.txt"}


@dataclass(frozen=True)
class PointwiseModel:
    """Hold fitted boosters; `conversion` is None without enough purchases to learn from."""

    spec: FeatureSpec
    click: lightgbm.Booster
    conversion: lightgbm.Booster | None

    @classmethod
    def load(cls, folder: Path, spec: FeatureSpec) -> PointwiseModel:
        """Read what `save` wrote."""
        conversion = folder / _FILES["cvr"]
        return cls(
            spec, read_booster(folder / _FILES["ctr"]), read_booster(conversion) if conversion.is_file() else None
        )

    def save(self, folder: Path) -> None:
        """Write the boosters to files in `folder`."""
        for name, booster in self._boosters().items():
            write_booster(folder / _FILES[name], booster)

    def scores(
        self, user: Mapping[str, Scalar], context: Mapping[str, Scalar], candidates: Sequence[CandidateLike]
    ) -> dict[str, Floats]:
        """Predict ``ctr`` [n] = P(click) and, if learnt, ``cvr`` [n] = P(purchase | click), at the top position.

        Raises `models.contract.features.FeatureError` naming a field that cannot be encoded.
        """
        encoder = Encoder(self.spec)
        arrays = encoder.encode_items(candidates) | encoder.encode_user(user, context)
        one: Arrays = {name: values[None] for name, values in arrays.items()}
        table = candidate_rows(one, np.ones((1, len(candidates)), bool))
        return {name: predict(booster, table) for name, booster in self._boosters().items()}

    def request_scores(self, records: Sequence[ListRecord]) -> list[dict[str, Floats]]:
        """Predict as `scores` does for all candidates of many requests at once, by request.

        Raises `ValueError` naming the list and the field that cannot be encoded.
        """
        scorers = {name: partial(predict, booster) for name, booster in self._boosters().items()}
        return candidate_scores(records, self.spec, scorers)

    def _boosters(self) -> dict[str, lightgbm.Booster]:
        return {"ctr": self.click} | ({} if self.conversion is None else {"cvr": self.conversion})


def fit_pointwise(records: Sequence[ListRecord], spec: FeatureSpec, *, seed: int) -> PointwiseModel:
    """Fit to the exposed items of `records`, stopping early by an eighth of them.

    Raises `ValueError` as `fit_pointwise_arrays` does.
    """
    data = encode_lists(records, spec, max((len(r.exposed) for r in records), default=1) or 1)
    held = np.array([bucket(r.request_id, _HELD_OUT, seed=seed, purpose="pointwise") == 0 for r in records])
    return fit_pointwise_arrays(data.take(np.flatnonzero(~held)), data.take(np.flatnonzero(held)), spec, seed=seed)


def fit_pointwise_arrays(train: ListArrays, held_out: ListArrays, spec: FeatureSpec, *, seed: int) -> PointwiseModel:
    """Fit to the exposed items of lists, stopping early by those of others.

    Raises `ValueError` unless both have items with and without a click.
    """
    learnt, stop = _clicked(train), _clicked(held_out)
    click = _fit(learnt, stop, spec, seed)
    if click is None:
        raise ValueError("a pointwise model needs clicks, and items without one, in several lists")
    return PointwiseModel(spec, click, _fit(_bought(train, learnt), _bought(held_out, stop), spec, seed))


def _clicked(data: ListArrays) -> LabelledRows:
    """Take all exposed items, and whether each was clicked."""
    return LabelledRows(shown_rows(data), data.labels[data.filled][:, 0])


def _bought(data: ListArrays, clicked: LabelledRows) -> LabelledRows:
    """Take the clicked items of lists whose purchases are known, and whether each was bought."""
    rows = np.repeat(data.observed[:, 1], data.lengths) & (clicked.labels > 0)
    return LabelledRows(clicked.table[rows], data.labels[data.filled][rows, 1])


def _fit(learnt: LabelledRows, stop: LabelledRows, spec: FeatureSpec, seed: int) -> lightgbm.Booster | None:
    if any(len(np.unique(rows.labels)) < 2 for rows in (learnt, stop)):
        return None
    return fit_trees({"objective": "binary"}, learnt, stop, spec, seed=seed)
