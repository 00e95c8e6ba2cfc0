"""Count, fit to and encode the lists of a file by split.

Counting and fitting is one pass over the file, encoding another. Neither holds more than a window of lists as columns;
what is kept are arrays, which large logs keep on disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import pyarrow.compute as pc
from tqdm import tqdm

from models.contract.arrays import Bools
from models.contract.spec import FeatureSpec
from models.data.array_store import ArrayStore
from models.data.batches import ListArrays
from models.data.fit_spec import SpecFitter
from models.data.list_file import ListFile
from models.data.places import LEARNT, PlaceTally
from models.data.records import Split
from models.data.slates import SlateArrays
from models.data.window_arrays import WindowEncoder
from models.data.windows import ListWindow

FEWEST: Final = 2
"""Lists of a split that a share holds at least."""


@dataclass(frozen=True)
class ListSplits:
    """Hold a file and its number of lists by split.

    `chosen` marks the lists that are used, of a split of which not all are.
    """

    file: ListFile
    counts: Mapping[Split, int]
    chosen: Mapping[Split, Bools] = field(default_factory=dict)

    @classmethod
    def read(cls, file: ListFile, fitter: SpecFitter | None = None, places: PlaceTally | None = None) -> ListSplits:
        """Count the lists of every split, and fit to those of ``train``.

        `places` takes the items of those that are learnt from. Raises `ListFileError`.
        """
        counts = Counter[Split]()
        for split, window in cls(file, {})._parts(get_args(Split), "read"):
            counts[split] += len(window)
            if fitter is not None and split == "train":
                fitter.add(window)
            if places is not None and split in LEARNT:
                places.add(window, np.ones(len(window), bool))
        return cls(file, {split: counts[split] for split in get_args(Split)})

    def fit(self, fitter: SpecFitter, splits: Collection[Split]) -> None:
        """Fit to all lists of some splits. Raises `ValueError` as `SpecFitter.add` does."""
        for split in splits:
            for _, window in self._parts([split], "fit"):
                fitter.add(window)

    def encode(
        self,
        spec: FeatureSpec,
        length: int,
        sets: Mapping[str, Sequence[Split]],
        folder: Path,
        *,
        embeddings: bool,
    ) -> dict[str, ListArrays]:
        """Encode the lists shown as named sets, each of one split after another.

        Sets without lists are left out. Arrays that are large lie in `folder` while they are used. Raises `ValueError`
        naming the list and the field that cannot be encoded.
        """
        encoder = WindowEncoder(spec, length)
        sizes = {name: sum(self.counts[split] for split in splits) for name, splits in sets.items()}
        stores = {name: ArrayStore(size, folder) for name, size in sizes.items() if size}
        for step in range(max(map(len, sets.values()))):
            wanted = {splits[step]: name for name, splits in sets.items() if step < len(splits)}
            for split, window in self._parts(wanted, "encode", embeddings=embeddings):
                stores[wanted[split]].put(encoder.shown(window).arrays())
        return {name: ListArrays.of(store.arrays()) for name, store in stores.items()}

    def slates(self, spec: FeatureSpec, length: int, folder: Path) -> SlateArrays:
        """Encode all candidates of all lists, split after split; see `encode`."""
        encoder, ids = WindowEncoder(spec, length), list[str]()
        store = ArrayStore(sum(self.counts.values()), folder)
        for split in (split for split, count in self.counts.items() if count):
            for _, window in self._parts([split], f"encode {split}", embeddings=True):
                slates = encoder.slates(window)
                ids += slates.request_ids
                store.put(slates.arrays())
        return SlateArrays.of(store.arrays(), ids)

    def named(self, request_ids: Collection[str]) -> ListSplits:
        """Use the lists with these request ids alone, of all splits."""
        marks: dict[Split, list[Bools]] = {split: [] for split in get_args(Split)}
        for split, window in self._parts(get_args(Split), "find"):
            marks[split].append(np.array([i in request_ids for i in window.request_ids.to_pylist()], bool))
        chosen = {split: np.concatenate(parts) for split, parts in marks.items() if parts}
        return replace(self, counts={split: int(rows.sum()) for split, rows in chosen.items()}, chosen=chosen)

    def of(self, split: Split) -> ListSplits:
        """Use the lists of one split alone."""
        return replace(self, counts={split: self.counts.get(split, 0)})

    def fields(self) -> dict[str, set[str]]:
        """Name the fields that any candidate or request has, by group: user, context, item, scores."""
        found: dict[str, set[str]] = {"user": set(), "context": set(), "item": set(), "scores": set()}
        for _, window in self._parts(self.counts, "look"):
            items = window.candidates
            for names, columns in zip(
                found.values(), (window.user, window.context, items.features, items.scores), strict=True
            ):
                names |= {name for name, column in columns.items() if column.null_count < len(column)}
        return found

    def share(self, share: float, splits: Sequence[Split], seed: int) -> ListSplits:
        """Draw a share of some splits, at least two lists of each; smaller shares nest."""
        sizes = {split: max(FEWEST, round(share * self.counts[split])) for split in splits}
        return self._drawn({split: (size, seed) for split, size in sizes.items()}, self.counts)

    def draw(self, sizes: Mapping[Split, int], seed: int) -> ListSplits:
        """Draw so many lists of some splits, and none of others; more extend fewer."""
        return self._drawn({split: (size, [seed, i]) for i, (split, size) in enumerate(sizes.items())}, {})

    def _drawn(self, sizes: Mapping[Split, tuple[int, Any]], others: Mapping[Split, int]) -> ListSplits:
        """Draw lists of some splits by size and seed, beside so many of others."""
        chosen = {}
        for split, (size, seed) in sizes.items():
            order = np.random.default_rng(seed).permutation(self.counts[split])
            chosen[split] = np.zeros(len(order), bool)
            chosen[split][order[:size]] = True
        counts = {**others, **{split: int(rows.sum()) for split, rows in chosen.items()}}
        return replace(self, counts=counts, chosen=chosen)

    def _parts(
        self, splits: Collection[Split], verb: str, *, embeddings: bool = False
    ) -> Iterator[tuple[Split, ListWindow]]:
        """Read the chosen lists of some splits in order, windows of one split each."""
        seen = Counter[Split]()
        with tqdm(total=len(self.file), desc=verb, unit="list", disable=None) as bar:
            for window in self.file.windows(embeddings=embeddings):
                for split in splits:
                    rows = np.flatnonzero(pc.equal(window.splits, split).to_numpy(zero_copy_only=False))
                    first, seen[split] = seen[split], seen[split] + len(rows)
                    if split in self.chosen:
                        rows = rows[self.chosen[split][first : first + len(rows)]]
                    if len(rows):
                        yield split, window if len(rows) == len(window) else window.take(rows)
                bar.update(len(window))
