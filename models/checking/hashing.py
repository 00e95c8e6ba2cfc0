"""Hash whole columns, and count distinct hashes in bounded memory."""

from __future__ import annotations

from typing import Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.contract.arrays import Ints

Hashes = npt.NDArray[np.uint64]

_PRIME: Final = np.uint64(0x100000001B3)
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_NULL: Final = np.uint64(0x5851F42D4C957F2D)
_ROWS: Final = 8192
"""Texts hashed at once, which bounds the memory that their bytes take."""


def column_hashes(column: pa.Array) -> Hashes:
    """Hash each value of a column of text, numbers or booleans; nulls are all alike."""
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), _NULL)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        values = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)
    elif pa.types.is_floating(kind):
        # Adding 0 makes -0.0 and 0.0 one.
        values = (column.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False) + 0.0).view(np.uint64)
    else:
        parts = [_text_hashes(column.slice(at, _ROWS)) for at in range(0, len(column), _ROWS)]
        values = np.concatenate(parts) if parts else np.empty(0, np.uint64)
    hashes = mix(values)
    if column.null_count:
        hashes[column.is_null().to_numpy(zero_copy_only=False)] = _NULL
    return hashes


def sequence_hashes(values: Hashes, starts: Ints) -> Hashes:
    """Hash the spans of `values` between `starts` [n + 1]; order counts."""
    lengths = np.diff(starts)
    places = np.arange(len(values), dtype=np.uint64) - np.repeat(starts[:-1], lengths).astype(np.uint64)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mix(values + places * _GOLDEN), dtype=np.uint64)])
    return mix(sums[starts[1:]] - sums[starts[:-1]] + lengths.astype(np.uint64))


def mix(values: Hashes) -> Hashes:
    """Spread 64-bit values evenly (the finaliser of SplitMix64)."""
    x = values + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return cast(Hashes, x ^ (x >> np.uint64(31)))


def _text_hashes(column: pa.Array) -> Hashes:
    """Hash texts as polynomials of their UTF-8 bytes modulo 2^64."""
    binary = pc.fill_null(column.cast(pa.large_string()), "").cast(pa.large_binary())
    _, offsets_buffer, data = binary.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[binary.offset : binary.offset + len(binary) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    text = np.frombuffer(data, np.uint8)[first:last] if last > first else np.empty(0, np.uint8)
    lengths = np.diff(offsets)
    places = np.arange(last - first) - np.repeat(offsets[:-1] - first, lengths)
    powers = np.cumprod(np.full(int(lengths.max(initial=0)) + 1, _PRIME), dtype=np.uint64)
    terms = (text.astype(np.uint64) + np.uint64(1)) * powers[places]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
    return cast(Hashes, sums[offsets[1:] - first] - sums[offsets[:-1] - first])


class Sketch:
    """Keep the smallest distinct hashes, with how often each came.

    While there are at most `most`, everything is exact. Past that, those kept are a random sample of the distinct
    hashes, the same hashes in every sketch, so that two sketches can be compared.
    """

    def __init__(self, most: int = 1 << 16) -> None:
        self._most = most
        self._hashes: Hashes = np.empty(0, np.uint64)
        self._counts: Ints = np.empty(0, np.int64)
        self._bound = np.uint64(np.iinfo(np.uint64).max)

    def add(self, hashes: Hashes) -> None:
        """Count hashes."""
        kept, counts = np.unique(hashes[hashes <= self._bound], return_counts=True)
        if len(kept):
            self._join(kept, counts)

    def extend(self, other: Sketch) -> None:
        """Count the hashes of another sketch of as many at most."""
        if other._bound < self._bound:
            self._bound = other._bound
            known = self._hashes <= self._bound
            self._hashes, self._counts = self._hashes[known], self._counts[known]
        known = other._hashes <= self._bound
        self._join(other._hashes[known], other._counts[known])

    def _join(self, hashes: Hashes, counts: Ints) -> None:
        joined, places = np.unique(np.concatenate([self._hashes, hashes]), return_inverse=True)
        totals = np.bincount(places, np.concatenate([self._counts, counts]), len(joined)).astype(np.int64)
        if len(joined) > self._most:
            joined, totals = joined[: self._most], totals[: self._most]
            self._bound = joined[-1]
        self._hashes, self._counts = joined, totals

    @property
    def exact(self) -> bool:
        """Tell whether every distinct hash is kept."""
        return len(self._hashes) < self._most

    @property
    def distinct(self) -> int:
        """Count, or past `most` estimate, the distinct hashes."""
        if self.exact:
            return len(self._hashes)
        return round((self._most - 1) / (float(self._bound) / 2.0**64))

    @property
    def repeated_share(self) -> float:
        """Compute the share of all additions whose hash had come before."""
        total = int(self._counts.sum())
        return 1 - len(self._counts) / total if total else 0.0

    def share_within(self, other: Sketch) -> float:
        """Compute the share of this sketch's distinct hashes that `other` has as well."""
        bound = min(self._bound, other._bound)
        own = self._hashes[self._hashes <= bound]
        return float(np.isin(own, other._hashes).mean()) if len(own) else 0.0
