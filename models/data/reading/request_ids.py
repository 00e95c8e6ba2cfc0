"""Find request ids that stand twice among millions of lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.contract.arrays import Ints

_GROWTH: Final = 4
"""A run of hashes is merged into the one before while that is not this many times as long."""


class RequestIds:
    """Remember ids by 64-bit hashes, in 8 bytes each.

    Two ids may share a hash, so that one that seems to stand twice is looked up among all ids added so far: `reread`
    yields them again, in order, and may go on behind them.
    """

    def __init__(self, reread: Callable[[], Iterator[pa.Array]]) -> None:
        self._reread = reread
        self._runs: list[Ints] = []
        self._count = 0

    def repeated(self, ids: pa.Array) -> int | None:
        """Add ids; return the index of the first one that stands twice, or None."""
        words = ids.to_pylist()
        hashes = np.fromiter(map(hash, words), np.int64, len(words))
        order = np.argsort(hashes, kind="stable")
        run = hashes[order]
        doubtful = np.concatenate([[False], run[1:] == run[:-1]])
        for earlier in self._runs:
            doubtful |= earlier[np.minimum(np.searchsorted(earlier, run), len(earlier) - 1)] == run
        for index in np.sort(order[doubtful]).tolist():
            if words[index] in words[:index] or self._was_added(words[index]):
                return int(index)
        self._add(run)
        return None

    def _was_added(self, word: str) -> bool:
        begin = 0
        for ids in self._reread():
            at = pc.index(ids, word).as_py()
            if at >= 0:
                return bool(begin + at < self._count)
            begin += len(ids)
        return False

    def _add(self, run: Ints) -> None:
        self._count += len(run)
        while self._runs and len(self._runs[-1]) < _GROWTH * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)
