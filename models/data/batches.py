"""Encode the exposed lists of records as padded arrays, and cut seeded batches.

Axis letters: n lists, L positions, C categorical columns, F number columns, S scores. Position j holds the item shown
at rank j; lists longer than L are cut, shorter ones padded with zeros.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from models.contract.arrays import AnyArray, Arrays, Bools, Floats32, Ints
from models.contract.embeddings import unit_embeddings
from models.contract.features import Encoder
from models.contract.scalars import FeatureError
from models.contract.spec import FeatureSpec
from models.data.array_store import ArrayStore, is_on_disk, release
from models.data.records import ListRecord

_CHUNK = 1024

UNKNOWN_RATE: Final = 0.01
"""Share of categorical values hidden in training, which is what trains the unknown bucket (`hide_values`)."""

Batch = dict[str, Tensor]
"""Feature arrays under the names the graph inputs have, and `labels`, `lengths`, `observed`."""


@dataclass(frozen=True)
class LabelledArrays:
    """Hold the features of n records and the outcomes of the lists shown.

    `labels` float32 [n, L, 3] holds clicks, purchases and gmv (currency) in the order of `spec.OBJECTIVES`; `observed`
    bool [n, 3] says which of them the log records; those it does not record are 0 in `labels`. `lengths` int64 [n]
    counts the items shown.
    """

    features: Arrays
    labels: Floats32
    observed: Bools
    lengths: Ints

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def digest(self) -> str:
        """Compute the SHA-256 of all arrays, in hex, to compare data sets by."""
        return digest(self.arrays())

    def arrays(self) -> Arrays:
        """Join the features and all other arrays in one table."""
        return self.features | self._beside_features()

    def take(self, rows: Ints) -> Self:
        """Select the records at `rows`, in that order."""
        features = {name: _taken(values, rows) for name, values in self.features.items()}
        beside: dict[str, Any] = {name: _taken(values, rows) for name, values in self._beside_features().items()}
        return replace(self, features=features, **beside)

    def part(self, rows: Ints, folder: Path) -> Self:
        """Select as `take` does; of records on disk on disk too, in `folder`."""
        if not self.on_disk:
            return self.take(rows)
        store = ArrayStore(len(rows), folder, on_disk=True)
        for start in range(0, len(rows), _CHUNK):
            store.put(self.take(rows[start : start + _CHUNK]).arrays())
        arrays = store.arrays()
        beside: dict[str, Any] = {name: arrays[name] for name in self._beside_features()}
        return replace(self, features={name: arrays[name] for name in self.features}, **beside)

    def release(self) -> None:
        """Give back the memory of arrays on disk that were read whole."""
        release(self.arrays().values())

    @property
    def on_disk(self) -> bool:
        """Tell whether an `ArrayStore` put the arrays on disk."""
        return any(map(is_on_disk, self.arrays().values()))

    def tensors(self, device: torch.device) -> Batch:
        """Copy all arrays to one device, as `tensors` does."""
        return tensors(self.arrays(), device)

    def _beside_features(self) -> dict[str, Any]:
        return {name: values for name, values in vars(self).items() if isinstance(values, np.ndarray)}


class ListArrays(LabelledArrays):
    """Hold the exposed lists of n records as arrays.

    `features`: ``user_ids`` [n, C], ``user_numbers`` [n, F], ``item_ids`` [n, L, C], ``item_numbers`` [n, L, F],
    ``item_scores`` [n, L, S], ``priors`` [n, L, O], ``price`` [n, L] in currency and ``embeddings`` [n, L, E], unit
    rows or zeros.
    """

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        """Hold arrays that `arrays` named."""
        beside = {name: arrays[name] for name in ("labels", "observed", "lengths")}
        return cls({name: a for name, a in arrays.items() if name not in beside}, **cast(Any, beside))

    @property
    def filled(self) -> Bools:
        """Mark the positions that hold an exposed item, bool [n, L]."""
        return np.arange(self.labels.shape[1]) < self.lengths[:, None]

    @property
    def has_embeddings(self) -> bool:
        """Tell whether any exposed item has an embedding."""
        return any(rows.any() for rows in _slices(self.features["embeddings"]))


def _taken(values: AnyArray, rows: Ints) -> AnyArray:
    """Select rows of one array, and give back the memory of their pages.

    The system maps pages around each row too, so those of all arrays together would be as much as the arrays.
    """
    taken: AnyArray = values[rows]
    release([values])
    return taken


def encode_lists(records: Sequence[ListRecord], spec: FeatureSpec, list_length: int) -> ListArrays:
    """Encode the exposed part of every record, at most `list_length` items of each.

    Raises `ValueError` naming the list and the field that cannot be encoded.
    """
    shown = [record.exposed[:list_length] for record in records]
    features = encode_features(records, spec, shown, list_length)
    return ListArrays(features, *encode_labels(records, list_length), np.array(list(map(len, shown)), np.int64))


def encode_features(
    records: Sequence[ListRecord], spec: FeatureSpec, places: Sequence[Sequence[int]], width: int
) -> Arrays:
    """Encode each record's user and its candidates at `places`, padded with zeros to `width`.

    Raises `ValueError` if there are no records, or naming the list and the field that cannot be encoded.
    """
    if not records:
        raise ValueError("there are no lists to encode")
    encoder = Encoder(spec)
    spans = [slice(start, start + _CHUNK) for start in range(0, len(records), _CHUNK)]
    return join_chunks([_encode_chunk(encoder, records[s], places[s], width) for s in spans])


def pad(items: Arrays, counts: Ints, width: int) -> Arrays:
    """Pad the items of n lists, which stand end to end [k, …], with zeros to [n, `width`, …].

    `counts` [n] are the lengths of the lists, at most `width`.
    """
    # A mask takes rows in order, so each list's rows fill its first places.
    filled = np.arange(width) < counts[:, None]
    padded: Arrays = {name: np.zeros((*filled.shape, *v.shape[1:]), v.dtype) for name, v in items.items()}
    for name, values in items.items():
        padded[name][filled] = values
    return padded


def join_chunks(chunks: Sequence[Arrays]) -> Arrays:
    """Concatenate encoded chunks along their first axis; ``embeddings`` are padded to the widest."""
    width = max(chunk["embeddings"].shape[-1] for chunk in chunks)
    for chunk in chunks:
        rows = chunk["embeddings"]
        chunk["embeddings"] = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, width - rows.shape[-1])])
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def encode_labels(records: Sequence[ListRecord], list_length: int) -> tuple[Floats32, Bools]:
    """Encode `labels` [n, L, 3] and `observed` [n, 3] of `LabelledArrays`."""
    labels = np.zeros((len(records), list_length, 3), np.float32)
    observed = np.zeros((len(records), 3), bool)
    for i, record in enumerate(records):
        for column, values in enumerate((record.clicks, record.purchases, record.gmv)):
            if values is not None:
                kept = values[:list_length]
                labels[i, : len(kept), column] = kept
                observed[i, column] = True
    return labels, observed


def tensors(arrays: Arrays, device: torch.device) -> Batch:
    """Copy arrays to one device at once, as tensors.

    Arrays on disk stay there until batches are cut.
    """
    if any(map(is_on_disk, arrays.values())):
        return DiskBatch(arrays, device)
    return {name: torch.from_numpy(values).to(device) for name, values in arrays.items()}


def digest(arrays: Arrays) -> str:
    """Compute the SHA-256 of named arrays, in hex, to compare data by."""
    hashed = hashlib.sha256()
    for name, values in sorted(arrays.items()):
        hashed.update(f"{name} {values.dtype} {values.shape}".encode())
        for rows in _slices(values):
            hashed.update(np.ascontiguousarray(rows).tobytes())
    return hashed.hexdigest()


def _slices(values: AnyArray) -> Iterator[AnyArray]:
    """Cut an array into slices, to read one on disk piece by piece."""
    if not values.ndim:
        yield values
        return
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
        release([values])


class DiskBatch(Batch):
    """Hold tensors of arrays on disk; `batches` copies rows to the `device`."""

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        super().__init__({name: torch.from_numpy(values) for name, values in arrays.items()})
        self._arrays = arrays
        self._device = device
        self["lengths"] = self["lengths"].to(device)

    def rows(self, chosen: Tensor) -> Batch:
        """Copy some rows to the device."""
        return {name: self._copied(name, chosen.to(values.device)) for name, values in self.items()}

    def _copied(self, name: str, chosen: Tensor) -> Tensor:
        # One array after the other: what is mapped around the rows read is much more than they are.
        rows = self[name][chosen].to(self._device)
        release([self._arrays[name]])
        return rows


def batches(data: Batch, size: int = 1024, order: Ints | None = None) -> Iterator[Batch]:
    """Cut `data` into batches of at most `size` lists; with `order`, of its lists alone."""
    chosen_rows = np.arange(len(data["lengths"])) if order is None else order
    rows = torch.from_numpy(chosen_rows).to(data["lengths"].device)
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        yield data.rows(chosen) if isinstance(data, DiskBatch) else {n: values[chosen] for n, values in data.items()}


def epoch_order(count: int, *, seed: int, epoch: int) -> Ints:
    """Draw a permutation from seed and epoch alone, so that a resumed run shuffles alike."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def seen_by(model: nn.Module, batch: Batch, spec: FeatureSpec) -> Batch:
    """Hide some values of a batch while the model trains, none otherwise."""
    return hide_values(batch, spec, UNKNOWN_RATE) if model.training else batch


def hide_values(batch: Batch, spec: FeatureSpec, rate: float) -> Batch:
    """Replace each categorical value by its unknown bucket with probability `rate`.

    Training lists hold few or no unknown values, yet serving meets them; without this, that bucket's embedding would
    stay as it was initialised.
    """
    hidden = dict(batch)
    for name, fields in (("user_ids", spec.user_categoricals), ("item_ids", spec.item_categoricals)):
        ids = batch[name]
        unknown = torch.tensor(list(accumulate((f.rows for f in fields), initial=0))[:-1], device=ids.device)
        hidden[name] = torch.where(torch.rand(ids.shape, device=ids.device) < rate, unknown.to(ids.dtype), ids)
    return hidden


def _encode_chunk(
    encoder: Encoder, records: Sequence[ListRecord], places: Sequence[Sequence[int]], width: int
) -> Arrays:
    # One call for the candidates of all records: calls cost more than rows.
    chosen = [[record.candidates[i] for i in own] for record, own in zip(records, places, strict=True)]
    flat = [candidate for candidates in chosen for candidate in candidates]
    try:
        users = [encoder.encode_user(record.user, record.context) for record in records]
        items = {**encoder.encode_items(flat), "embeddings": unit_embeddings([c.embedding for c in flat])}
    except FeatureError:
        _name_broken_list(encoder, records, places)
        raise
    counts = np.array([len(candidates) for candidates in chosen])
    return {name: np.stack([user[name] for user in users]) for name in users[0]} | pad(items, counts, width)


def _name_broken_list(
    encoder: Encoder,
    records: Sequence[ListRecord],
    places: Sequence[Sequence[int]],
) -> None:
    for record, own in zip(records, places, strict=True):
        try:
            encoder.encode_user(record.user, record.context)
            encoder.encode_items(record.candidates, np.array(own, np.int64))
        except FeatureError as error:
            raise ValueError(f"list {record.request_id!r}: {error}") from error
