"""Encode whole requests as padded arrays: every candidate, and the list shown.

Generators learn from these. `batches.py` holds the exposed lists only, which is all that a value model trains on. Here
all candidates are encoded, once, and lists are indices into them.

Axis letters: n requests, N candidates (padded to the longest), L positions, C categorical columns, F number columns, S
scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from models.contract.arrays import Bools, Floats32, Ints
from models.contract.features import Arrays
from models.contract.spec import FeatureSpec
from models.data.batches import Batch, digest, encode_features, encode_labels
from models.data.lists import ListRecord

REQUEST_ARRAYS: Final = ("user_ids", "user_numbers")
ITEM_ARRAYS: Final = ("item_ids", "item_numbers", "item_scores", "priors", "price", "embeddings")


@dataclass(frozen=True)
class SlateArrays:
    """Hold n requests with all their candidates.

    `features`: ``user_ids`` [n, C], ``user_numbers`` [n, F], ``item_ids`` [n, N, C], ``item_numbers`` [n, N, F],
    ``item_scores`` [n, N, S], ``priors`` [n, N, O], ``price`` [n, N] in currency, ``embeddings`` [n, N, E] (unit rows
    or zeros) and ``valid`` bool [n, N] (False: padding). `exposed` int64 [n, L] holds the candidates shown, in order,
    −1 past the end; `lengths` int64 [n] counts them. `labels` [n, L, 3] and `observed` [n, 3] as in
    `batches.ListArrays`.
    """

    request_ids: tuple[str, ...]
    features: Arrays
    exposed: Ints
    lengths: Ints
    labels: Floats32
    observed: Bools

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def candidates(self) -> int:
        """Return N, the most candidates of a request."""
        return int(self.features["valid"].shape[1])

    @property
    def digest(self) -> str:
        """Compute the SHA-256 of all arrays, in hex, to compare requests by."""
        return digest(self.arrays())

    def arrays(self) -> Arrays:
        """Join features, ``exposed``, ``lengths``, ``labels`` and ``observed`` in one table."""
        return {
            **self.features,
            "exposed": self.exposed,
            "lengths": self.lengths,
            "labels": self.labels,
            "observed": self.observed,
        }

    def tensors(self, device: torch.device) -> Batch:
        """Copy all `arrays` to one device as tensors."""
        return {name: torch.from_numpy(values).to(device) for name, values in self.arrays().items()}

    def take(self, rows: Ints) -> SlateArrays:
        """Select the requests at `rows`, in that order."""
        return SlateArrays(
            tuple(self.request_ids[i] for i in rows.tolist()),
            {name: values[rows] for name, values in self.features.items()},
            self.exposed[rows],
            self.lengths[rows],
            self.labels[rows],
            self.observed[rows],
        )


def encode_slates(records: Sequence[ListRecord], spec: FeatureSpec, list_length: int) -> SlateArrays:
    """Encode every candidate of every record. Raises `ValueError` naming list and field."""
    if not records:
        raise ValueError("there are no lists to encode")
    places = [range(len(record.candidates)) for record in records]
    width = max(map(len, places))
    valid = np.arange(width) < np.array([len(own) for own in places])[:, None]
    # The list shown is kept as places among the candidates.
    exposed = np.full((len(records), list_length), -1, np.int64)
    for row, record in zip(exposed, records, strict=True):
        shown = record.exposed[:list_length]
        row[: len(shown)] = shown
    labels, observed = encode_labels(records, list_length)
    return SlateArrays(
        request_ids=tuple(r.request_id for r in records),
        features=encode_features(records, spec, places, width) | {"valid": valid},
        exposed=exposed,
        lengths=(exposed >= 0).sum(axis=1),
        labels=labels,
        observed=observed,
    )


def list_features(batch: Mapping[str, Tensor], requests: Tensor, lists: Tensor) -> Batch:
    """Gather the features of `lists` int64 [M, T] of `requests` [M].

    `lists` hold candidates. Features of items become [M, T, …], those of users [M, …]. Past a list's end (−1) they are
    the first candidate's. Arrays that `batch` lacks are left out.
    """
    chosen = lists.clamp(min=0)
    items = {name: batch[name][requests[:, None], chosen] for name in ITEM_ARRAYS if name in batch}
    return items | {name: batch[name][requests] for name in REQUEST_ARRAYS if name in batch}
