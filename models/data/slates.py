"""Encode whole requests as padded arrays: every candidate, and the list shown.

Generators learn from these. `batches.py` holds the exposed lists only, which is all that a value model trains on. Here
all candidates are encoded, once, and lists are indices into them.

Axis letters: n requests, N candidates (padded to the longest), L positions, C categorical columns, F number columns, S
scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self, cast

import numpy as np
from torch import Tensor

from models.contract.arrays import Arrays, Ints
from models.contract.spec import FeatureSpec
from models.data.batches import Batch, LabelledArrays, encode_features, encode_labels
from models.data.records import ListRecord

REQUEST_ARRAYS: Final = ("user_ids", "user_numbers")
ITEM_ARRAYS: Final = ("item_ids", "item_numbers", "item_scores", "priors", "price", "embeddings")


@dataclass(frozen=True)
class SlateArrays(LabelledArrays):
    """Hold n requests with all their candidates.

    `features`: ``user_ids`` [n, C], ``user_numbers`` [n, F], ``item_ids`` [n, N, C], ``item_numbers`` [n, N, F],
    ``item_scores`` [n, N, S], ``priors`` [n, N, O], ``price`` [n, N] in currency, ``embeddings`` [n, N, E] (unit rows
    or zeros) and ``valid`` bool [n, N] (False: padding). `exposed` int64 [n, L] holds the candidates shown, in order,
    −1 past the end.
    """

    request_ids: tuple[str, ...]
    exposed: Ints

    @classmethod
    def of(cls, arrays: Arrays, request_ids: Sequence[str]) -> Self:
        """Hold arrays that `arrays` named."""
        beside = {name: arrays[name] for name in ("labels", "observed", "lengths", "exposed")}
        features = {name: values for name, values in arrays.items() if name not in beside}
        return cls(features, request_ids=tuple(request_ids), **cast(Any, beside))

    @property
    def candidates(self) -> int:
        """Return N, the most candidates of a request."""
        return int(self.features["valid"].shape[1])

    def take(self, rows: Ints) -> Self:
        """Select the requests at `rows`, in that order."""
        return replace(super().take(rows), request_ids=self._ids(rows))

    def part(self, rows: Ints, folder: Path) -> Self:
        """Select as `take` does; of requests on disk on disk too, in `folder`."""
        return replace(super().part(rows, folder), request_ids=self._ids(rows))

    def _ids(self, rows: Ints) -> tuple[str, ...]:
        return tuple(self.request_ids[i] for i in rows.tolist())


def encode_slates(records: Sequence[ListRecord], spec: FeatureSpec, list_length: int) -> SlateArrays:
    """Encode every candidate of every record. Raises `ValueError` naming list and field."""
    places = [range(len(record.candidates)) for record in records]
    width = max(map(len, places), default=0)
    valid = np.arange(width) < np.array(list(map(len, places)))[:, None]
    # The list shown is kept as places among the candidates.
    exposed = np.full((len(records), list_length), -1, np.int64)
    for row, record in zip(exposed, records, strict=True):
        shown = record.exposed[:list_length]
        row[: len(shown)] = shown
    features = encode_features(records, spec, places, width) | {"valid": valid}
    lengths, ids = (exposed >= 0).sum(axis=1), tuple(r.request_id for r in records)
    return SlateArrays(features, *encode_labels(records, list_length), lengths, ids, exposed)


def list_features(batch: Mapping[str, Tensor], requests: Tensor, lists: Tensor) -> Batch:
    """Gather the features of `lists` int64 [M, T] of `requests` [M].

    `lists` hold candidates. Features of items become [M, T, …], those of users [M, …]. Past a list's end (−1) they are
    the first candidate's. Arrays that `batch` lacks are left out.
    """
    chosen = lists.clamp(min=0)
    items = {name: batch[name][requests[:, None], chosen] for name in ITEM_ARRAYS if name in batch}
    return items | {name: batch[name][requests] for name in REQUEST_ARRAYS if name in batch}
