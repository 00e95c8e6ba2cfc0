"""Read list files: a Parquet file, a folder of parts, or a URL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from models.data.reading.arrow_forms import texts
from models.data.reading.field_types import FieldTypes
from models.data.reading.parquet_part import Footer, read_batches, read_footer
from models.data.reading.place import Place
from models.data.reading.request_ids import RequestIds
from models.data.reading.stores import parts_of
from models.data.reading.window_checks import check_new, check_request_ids, check_window
from models.data.reading.window_reading import read_window
from models.data.records import ListFileError, ListRecord, Split
from models.data.windows import ListWindow

WINDOW: Final = 2048
"""Lists of a window at most."""

METADATA_KEY: Final = b"listwright"


@dataclass(frozen=True)
class ListPart:
    """Read one part file of a source, in any process.

    `first` is the row of its first list among those of all parts.
    """

    footer: Footer
    first: int
    types: FieldTypes

    def windows(
        self, split: Split | None = None, *, embeddings: bool = True, size: int = WINDOW
    ) -> Iterator[ListWindow]:
        """Read the lists in order, as `ListFile.windows` does, but for request ids that stand twice."""
        part = self.footer.part
        for batch, rows in read_batches(part, size, split=split, embeddings=embeddings):
            window = read_window(batch, part.name, rows, self.types, embeddings=embeddings)
            check_window(window)
            yield window

    def require_unchanged(self) -> None:
        """Raise `ListFileError` if the file is not the one whose footer was read."""
        if read_footer(self.footer.part).digest != self.footer.digest:
            raise ListFileError(f"{self.footer.part.name}: has changed since the command began")


class ListFile:
    """Read the lists of a source, always in the same order, window by window.

    `source` is a Parquet file, a folder of part files or a URL of either, which fsspec must know. Any form that
    programs write is read (`arrow_forms`), and every value that is read is checked. Raises `ListFileError` naming the
    file, row and column.
    """

    def __init__(self, source: str | Path) -> None:
        self._footers = [read_footer(part) for part in parts_of(source)]
        self._types = FieldTypes()
        for footer in self._footers:
            self._types.add(footer.schema, footer.part.name)

    @property
    def parts(self) -> list[ListPart]:
        """Return the part files in order."""
        first = accumulate((footer.rows for footer in self._footers), initial=0)
        return [ListPart(footer, row, self._types) for footer, row in zip(self._footers, first, strict=False)]

    def __len__(self) -> int:
        return sum(footer.rows for footer in self._footers)

    @property
    def metadata(self) -> dict[str, Any]:
        """Return the metadata that the writer of lists left; empty for files of another origin."""
        return dict(json.loads(self._footers[0].note.get(METADATA_KEY, b"{}")))

    def windows(
        self, split: Split | None = None, *, embeddings: bool = True, size: int = WINDOW
    ) -> Iterator[ListWindow]:
        """Read the lists in order, of one split if given; `embeddings` only if asked for.

        A window holds fewer than `size` lists where row groups end or lists are large. What need not be read is not
        checked: row groups without a list of `split`, and embeddings that were not asked for.
        """
        seen = RequestIds(partial(self._request_ids, split, size))
        for part in self.parts:
            for window in part.windows(split, embeddings=embeddings, size=size):
                check_request_ids(window, seen)
                if split is not None:
                    window = _of_split(window, split)
                if len(window):
                    yield window

    def check_request_ids(self) -> Iterator[None]:
        """Check the request ids alone, a part at each step.

        Raises `ListFileError` for one that stands twice.
        """
        seen = RequestIds(partial(self._request_ids, None, WINDOW))
        for footer in self._footers:
            for ids, place in _ids(footer, None, WINDOW):
                check_new(ids, place, seen)
            yield

    def _request_ids(self, split: Split | None, size: int) -> Iterator[pa.Array]:
        """Read the request ids alone, in the order of `windows`."""
        for footer in self._footers:
            yield from (ids for ids, _ in _ids(footer, split, size))


def _ids(footer: Footer, split: Split | None, size: int) -> Iterator[tuple[pa.Array, Place]]:
    for batch, rows in read_batches(footer.part, size, split=split, columns=("request_id",)):
        place = Place(footer.part.name, "request_id", rows)
        yield texts(batch["request_id"], place), place


def read_metadata(source: str | Path) -> dict[str, Any]:
    """Read the metadata that the writer of lists left; empty for files of another origin."""
    return ListFile(source).metadata


def read_lists(source: str | Path, split: Split | None = None) -> Iterator[ListRecord]:
    """Read the records of a source in order, of one split if given. Raises `ListFileError`."""
    for window in ListFile(source).windows(split):
        yield from window.records()


def read_splits(source: str | Path) -> dict[Split, Sequence[ListRecord]]:
    """Read the records of a source by split, including empty splits. Raises `ListFileError`."""
    splits: dict[Split, list[ListRecord]] = {name: [] for name in get_args(Split)}
    for record in tqdm(read_lists(source), desc="read", unit="list", disable=None):
        splits[record.split].append(record)
    return {**splits}


def _of_split(window: ListWindow, split: Split) -> ListWindow:
    chosen = np.flatnonzero(pc.equal(window.splits, split).to_numpy(zero_copy_only=False))
    return window if len(chosen) == len(window) else window.take(chosen)
